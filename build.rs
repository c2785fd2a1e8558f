//! Compiles `proto/` without an installed protoc: the server code, and the descriptor set that reflection serves.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");
    let mut files: Vec<PathBuf> = fs::read_dir("proto/rollcall/v1")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    // Encoded by protox itself: prost's own types would drop the authorization option of the methods.
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("rollcall.v1.bin");
    fs::write(descriptors, compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_client(false)
        // Sent as bytes that streams share.
        .extern_path(".rollcall.v1.WatchResponse", "crate::proto::Frame")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
