//! What commands print of lists: a table for people, or one JSON object or CSV record a line for programs.
//!
//! A list is printed page by page as it arrives, so that a long one needs no memory and begins at once. The columns of a
//! table are as wide as the widest cell so far.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

/// How to print a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table for people
    Table,
    /// One JSON object a line
    Json,
    /// CSV with a header
    Csv,
}

/// How to print.
#[derive(Debug, Clone, Args)]
pub(super) struct OutputArgs {
    /// How to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
}

/// Something that is printed on a line of its own. As JSON it is what it serializes to.
pub(super) trait Row: Serialize {
    /// The names of the columns.
    const COLUMNS: &'static [&'static str];

    /// A text for each column.
    fn cells(&self) -> Vec<String>;
}

/// What one field of a thing is printed as in a table.
pub(super) trait Cell {
    /// The text.
    fn cell(&self) -> String;
}

impl Cell for String {
    fn cell(&self) -> String {
        self.clone()
    }
}

impl Cell for &str {
    fn cell(&self) -> String {
        (*self).to_owned()
    }
}

impl Cell for i64 {
    fn cell(&self) -> String {
        self.to_string()
    }
}

impl Cell for i32 {
    fn cell(&self) -> String {
        self.to_string()
    }
}

impl Cell for bool {
    fn cell(&self) -> String {
        self.to_string()
    }
}

impl<T: Cell> Cell for Option<T> {
    fn cell(&self) -> String {
        self.as_ref().map(T::cell).unwrap_or_default()
    }
}

impl<T: Cell> Cell for Vec<T> {
    fn cell(&self) -> String {
        self.iter().map(T::cell).collect::<Vec<_>>().join(" ")
    }
}

/// A row whose columns are its fields.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(serde::Serialize)]
        pub(in crate::cli) struct $name { $(pub(in crate::cli) $field: $kind),* }

        impl $crate::cli::output::Row for $name {
            const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn cells(&self) -> Vec<String> {
                vec![$($crate::cli::output::Cell::cell(&self.$field)),*]
            }
        }
    };
}

pub(super) use row;

/// Prints a list.
pub(super) struct Printer<W> {
    format: Format,
    widths: Vec<usize>,
    out: W,
}

impl Printer<io::Stdout> {
    /// Prints on stdout.
    pub(super) fn new(format: Format) -> Self {
        Self { format, widths: Vec::new(), out: io::stdout() }
    }
}

impl<W: Write> Printer<W> {
    /// Prints a part of the list. The first one brings the header, also where there is nothing. Returns whether anybody
    /// still reads: a reader who left, such as `head`, is no failure.
    pub(super) fn print<R: Row>(&mut self, rows: &[R]) -> io::Result<bool> {
        let text = match self.format {
            Format::Table => self.table(rows),
            Format::Json => json(rows),
            Format::Csv => self.csv(rows)?,
        };
        match self.out.write_all(&text).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            written => written.map(|()| true),
        }
    }

    /// The header, the first time.
    fn header<R: Row>(&mut self) -> Option<Vec<String>> {
        if !self.widths.is_empty() {
            return None;
        }
        self.widths = R::COLUMNS.iter().map(|name| name.len()).collect();
        Some(R::COLUMNS.iter().map(|name| (*name).to_owned()).collect())
    }

    fn table<R: Row>(&mut self, rows: &[R]) -> Vec<u8> {
        let header = self.header::<R>().map(|names| names.iter().map(|name| name.to_uppercase()).collect());
        let cells = rows.iter().map(|row| row.cells().iter().map(|cell| plain(cell)).collect());
        let lines: Vec<Vec<String>> = header.into_iter().chain(cells).collect();
        for line in &lines {
            for (width, cell) in self.widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for line in lines {
            let padded = line.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:width$}"));
            text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text.into_bytes()
    }

    fn csv<R: Row>(&mut self, rows: &[R]) -> io::Result<Vec<u8>> {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        if let Some(header) = self.header::<R>() {
            writer.write_record(header)?;
        }
        for row in rows {
            writer.write_record(row.cells().into_iter().map(inert))?;
        }
        writer.flush()?;
        writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
    }
}

fn json<R: Serialize>(rows: &[R]) -> Vec<u8> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, row).expect("strings and numbers can be written to memory");
        text.push(b'\n');
    }
    text
}

/// Names are chosen by strangers: a spreadsheet must not take one for a formula.
fn inert(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}

/// Names are chosen by strangers: no control character of theirs reaches the terminal.
pub(super) fn plain(name: &str) -> String {
    name.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Named {
        id: &'static str,
        name: &'static str,
    }

    impl Row for Named {
        const COLUMNS: &'static [&'static str] = &["id", "name"];

        fn cells(&self) -> Vec<String> {
            vec![self.id.to_owned(), self.name.to_owned()]
        }
    }

    fn printed(format: Format) -> String {
        let mut printer = Printer { format, widths: Vec::new(), out: Vec::new() };
        let first = [Named { id: "1", name: "Ada, \"A\"" }];
        let second = [Named { id: "200", name: "=1+1\u{7}" }, Named { id: "3", name: "" }];
        assert!(printer.print(&first).unwrap());
        assert!(printer.print(&second).unwrap());
        String::from_utf8(printer.out).unwrap()
    }

    #[test]
    fn a_list_is_printed_in_each_format() {
        assert_eq!(printed(Format::Table), "ID  NAME\n1   Ada, \"A\"\n200  =1+1\u{fffd}\n3\n");
        assert_eq!(
            printed(Format::Json),
            "{\"id\":\"1\",\"name\":\"Ada, \\\"A\\\"\"}\n{\"id\":\"200\",\"name\":\"=1+1\\u0007\"}\n{\"id\":\"3\",\"name\":\"\"}\n"
        );
        assert_eq!(printed(Format::Csv), "id,name\r\n1,\"Ada, \"\"A\"\"\"\r\n200,'=1+1\u{7}\r\n3,\r\n");
    }

    #[test]
    fn an_empty_list_has_a_header_for_people_and_tables() {
        for (format, expected) in
            [(Format::Table, "ID  NAME\n"), (Format::Json, ""), (Format::Csv, "id,name\r\n")]
        {
            let mut printer = Printer { format, widths: Vec::new(), out: Vec::new() };
            printer.print::<Named>(&[]).unwrap();
            assert_eq!(String::from_utf8(printer.out).unwrap(), expected);
        }
    }
}
