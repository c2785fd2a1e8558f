//! `rollcall man`: the manual pages, made of the command line itself.

use std::{fs, io, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _};
use clap_mangen::Man;

use super::{
    Cli,
    files::{self, FileError},
    run,
};

const EXAMPLES: &str = "\
Examples:
  rollcall man | man -l -                                    read it
  rollcall man --output /usr/local/share/man/man1            install all of them";

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ManArgs {
    /// Write a page for rollcall and one for each command into this directory, which is made if there is none
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum ManError {
    #[error("cannot make a page: {0}")]
    Render(io::Error),
    #[error("cannot make {}: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    File(#[from] FileError),
}

pub(super) fn run(args: ManArgs) -> ExitCode {
    match man(args) {
        Ok(code) => code,
        Err(error) => run::failed("man", &error),
    }
}

fn man(ManArgs { output }: ManArgs) -> Result<ExitCode, ManError> {
    let mut command = Cli::command();
    command.build();
    let Some(directory) = output else { return Ok(run::say_all(&page(command)?)) };
    fs::create_dir_all(&directory)
        .map_err(|source| ManError::Directory { path: directory.clone(), source })?;
    let commands = subcommands(&command);
    for command in commands.into_iter().chain([command]) {
        // As git has it: `rollcall serve` is explained in rollcall-serve(1).
        let name = command.get_bin_name().unwrap_or(command.get_name()).replace(' ', "-");
        files::replace(&directory.join(format!("{name}.1")), &page(command.display_name(name.clone()))?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The commands below one that are shown, and those below them. Those of `help` have no pages: they are the commands again.
fn subcommands(command: &clap::Command) -> Vec<clap::Command> {
    let mut all = Vec::new();
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        all.push(below.clone());
        if below.get_name() != "help" {
            all.extend(subcommands(below));
        }
    }
    all
}

fn page(command: clap::Command) -> Result<Vec<u8>, ManError> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(ManError::Render)?;
    Ok(page)
}
