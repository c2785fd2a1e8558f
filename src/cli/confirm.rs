//! Asking whether something is meant.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;

use super::service::CommandError;

/// Whether to ask.
#[derive(Debug, Args)]
pub(super) struct ConfirmArgs {
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

/// What may be done where nobody can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unasked {
    /// Done as said: scripts do it, and it can be undone.
    Done,
    /// Not done without `--yes`.
    Refused,
}

impl ConfirmArgs {
    /// Asks on a terminal, after showing what would happen; elsewhere `unasked` decides.
    pub(super) fn confirm(&self, shown: &str, unasked: Unasked) -> Result<(), CommandError> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return match unasked {
                Unasked::Done => Ok(()),
                Unasked::Refused => Err(CommandError::Unconfirmed),
            };
        }
        let mut terminal = io::stderr();
        write!(terminal, "{shown}\nDo it? [y/N] ")?;
        terminal.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        let meant = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
        if meant { Ok(()) } else { Err(CommandError::Declined) }
    }
}
