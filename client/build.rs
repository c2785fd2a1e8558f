//! Compiles `proto/` without an installed protoc: the client code, with what a replica keeps made storable.

use std::{error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../proto");
    let mut files: Vec<PathBuf> = fs::read_dir("../proto/rollcall/v1")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    let mut compiler = protox::Compiler::new(["../proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let mut code = tonic_prost_build::configure().build_server(false);
    for stored in ["Organization", "Workspace", "Member", "WorkspaceMember", "Profile", "ExternalId"] {
        let message = format!(".rollcall.v1.{stored}");
        code = code.type_attribute(&message, "#[derive(serde::Serialize, serde::Deserialize)]");
        // The feed never carries these, and what it never carries is not part of a stored replica.
        for absent in ["create_time", "update_time", "return_time", "settings", "contract_id"] {
            code = code.field_attribute(format!("{message}.{absent}"), "#[serde(skip)]");
        }
    }
    // What the first release did not store.
    for later in ["leaving", "tombstone_id", "external_ids"] {
        code = code.field_attribute(format!(".rollcall.v1.Member.{later}"), "#[serde(default)]");
    }
    code.compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
