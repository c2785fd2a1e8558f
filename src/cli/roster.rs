//! The roster format: who is in what, one row per ACTIVE member of an organization (empty workspace and app) and per
//! ACTIVE member of a workspace. Written sorted by bytes and with CRLF, so that equal rosters are equal files; [`read`] in
//! any order.

use std::{collections::BTreeSet, path::Path};

use super::files::{self, FileError};

pub(super) mod read;

const COLUMNS: &[&str] = &["organization", "workspace", "app", "person", "role"];

/// One row. The order of the fields is the order of the rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RosterRow {
    pub(crate) organization: String,
    /// Empty for a member of the organization.
    pub(crate) workspace: String,
    /// The app of the workspace; empty with it.
    pub(crate) app: String,
    pub(crate) person: String,
    pub(crate) role: &'static str,
}

/// Why a roster could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RosterError {
    #[error("cannot format the roster: {0}")]
    Csv(#[from] csv::Error),
    #[error("cannot format the roster: {0}")]
    Flush(#[from] std::io::Error),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Replaces the file by these rows, whole or not at all.
pub(crate) fn write(path: &Path, rows: &BTreeSet<RosterRow>) -> Result<(), RosterError> {
    Ok(files::replace(path, &format(rows)?)?)
}

fn format(rows: &BTreeSet<RosterRow>) -> Result<Vec<u8>, RosterError> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for RosterRow { organization, workspace, app, person, role } in rows {
        writer.write_record([organization, workspace, app, person, *role])?;
    }
    writer.flush()?;
    // `into_inner` fails only where flushing does, which has just succeeded.
    writer.into_inner().map_err(|error| RosterError::Flush(error.into_error()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::csv_file;

    fn row(organization: &str, workspace: &str, app: &str, person: &str, role: &'static str) -> RosterRow {
        let (organization, workspace) = (organization.to_owned(), workspace.to_owned());
        RosterRow { organization, workspace, app: app.to_owned(), person: person.to_owned(), role }
    }

    #[test]
    fn rows_are_sorted_by_bytes_and_end_in_crlf() {
        let rows = BTreeSet::from([
            row("b", "", "", "u1", "owner"),
            row("a", "w", "chat", "u2", "admin"),
            row("a", "", "", "u2", "member"),
            row("B", "", "", "u3", "guest"),
        ]);
        let expected = "organization,workspace,app,person,role\r\n\
            B,,,u3,guest\r\na,,,u2,member\r\na,w,chat,u2,admin\r\nb,,,u1,owner\r\n";
        assert_eq!(String::from_utf8(format(&rows).unwrap()).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            names in prop::collection::btree_set(("[^\\p{Cc}]{1,6}", "[^\\p{Cc}]{0,6}", "[a-z@.]{1,8}"), 1..12)
        ) {
            let rows: BTreeSet<_> = names
                .iter()
                .map(|(organization, workspace, person)| row(organization, workspace, "chat", person, "member"))
                .collect();
            let text = format(&rows).unwrap();
            let records = csv_file::read(&text, COLUMNS).unwrap();
            let read: BTreeSet<_> = records.into_iter().map(|record| record.fields).collect();
            let expected: BTreeSet<_> = names
                .into_iter()
                .map(|(organization, workspace, person)| {
                    vec![organization, workspace, "chat".into(), person, "member".into()]
                })
                .collect();
            prop_assert_eq!(read, expected);
        }
    }
}
