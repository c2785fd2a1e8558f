//! Strict CSV: one record per line, each error with its line and column.
//!
//! The forgiving readers (the `csv` crate among them) close an open quote at the end of the file, glue text to a closed
//! one, join lines and skip empty ones. That suits data that is looked at; here a damaged line must be refused before
//! anything is applied, so this reader accepts RFC 4180 without line breaks in fields, and nothing else. CRLF, a last line
//! without its end, and one leading byte order mark are what spreadsheets write, and are accepted. A header without rows is
//! refused: it is what an export leaves that failed, and nobody means to apply nothing.

use std::{fmt, str};

/// Where in a file something is wrong, and what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Located<P> {
    /// Counted from 1; the header is line 1.
    pub(crate) line: usize,
    pub(crate) column: Column,
    pub(crate) problem: P,
}

/// A column by its name, or by its number (from 1) where it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Column {
    Named(&'static str),
    Unknown(String),
    Number(usize),
}

impl<P: fmt::Display> fmt::Display for Located<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Column::Named(name) => write!(f, "line {}, column {name:?}: {}", self.line, self.problem),
            Column::Unknown(name) => write!(f, "line {}, column {name:?}: {}", self.line, self.problem),
            Column::Number(number) => write!(f, "line {}, column {number}: {}", self.line, self.problem),
        }
    }
}

impl<P: fmt::Display + fmt::Debug> std::error::Error for Located<P> {}

/// What can be wrong with a file before its fields mean anything.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CsvProblem {
    #[error("the file is empty; the first line names the columns {}", columns.join(","))]
    NoHeader { columns: &'static [&'static str] },
    #[error("no rows: the file ends after its header")]
    NoRows,
    #[error("unknown column; the columns are {}", columns.join(","))]
    UnknownColumn { columns: &'static [&'static str] },
    #[error("this column is missing in the header")]
    MissingColumn,
    #[error("this column is in the header twice")]
    DuplicateColumn,
    #[error("the line has {got} fields where the header has {expected}")]
    FieldCount { expected: usize, got: usize },
    #[error("the line is empty")]
    EmptyLine,
    #[error("the text is not UTF-8")]
    NotUtf8,
    #[error("a quote is opened and not closed on this line")]
    OpenQuote,
    #[error("a quote stands inside a field; quote the whole field and double the quotes in it")]
    StrayQuote,
    #[error("control character {:?}", .0)]
    ControlCharacter(char),
}

/// One line, its fields in the order of the columns that were asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) line: usize,
    pub(crate) fields: Vec<String>,
}

/// Reads a whole file whose header has exactly these columns, in any order.
pub(crate) fn read(
    bytes: &[u8],
    columns: &'static [&'static str],
) -> Result<Vec<Record>, Located<CsvProblem>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    let nothing = |line, problem| Located { line, column: Column::Number(1), problem };
    let (_, header) = lines.next().ok_or_else(|| nothing(1, CsvProblem::NoHeader { columns }))?;
    let order = read_header(header, columns)?;
    let records: Vec<Record> =
        lines.map(|(index, line)| read_record(index + 1, line, &order, columns)).collect::<Result<_, _>>()?;
    if records.is_empty() { Err(nothing(2, CsvProblem::NoRows)) } else { Ok(records) }
}

/// For each field of a line, which of `columns` it is.
fn read_header(line: &[u8], columns: &'static [&'static str]) -> Result<Vec<usize>, Located<CsvProblem>> {
    let at = |column, problem| Located { line: 1, column, problem };
    let names = split(line).map_err(|(index, problem)| at(Column::Number(index + 1), problem))?;
    let mut order = Vec::with_capacity(columns.len());
    for name in names {
        let Some(index) = columns.iter().position(|column| *column == name) else {
            return Err(at(Column::Unknown(name), CsvProblem::UnknownColumn { columns }));
        };
        if order.contains(&index) {
            return Err(at(Column::Named(columns[index]), CsvProblem::DuplicateColumn));
        }
        order.push(index);
    }
    match (0..columns.len()).find(|index| !order.contains(index)) {
        Some(missing) => Err(at(Column::Named(columns[missing]), CsvProblem::MissingColumn)),
        None => Ok(order),
    }
}

fn read_record(
    line: usize,
    bytes: &[u8],
    order: &[usize],
    columns: &'static [&'static str],
) -> Result<Record, Located<CsvProblem>> {
    let column = |index: usize| {
        order.get(index).map_or(Column::Number(index + 1), |column| Column::Named(columns[*column]))
    };
    let at = |(index, problem)| Located { line, column: column(index), problem };
    let read = split(bytes).map_err(at)?;
    let (expected, got) = (order.len(), read.len());
    if got != expected {
        return Err(at((got.min(expected), CsvProblem::FieldCount { expected, got })));
    }
    let mut fields = vec![String::new(); expected];
    for (field, index) in read.into_iter().zip(order) {
        fields[*index] = field;
    }
    Ok(Record { line, fields })
}

/// The fields of one line; an error comes with the index of its field. A CR is part of a line's end only before an LF.
fn split(line: &[u8]) -> Result<Vec<String>, (usize, CsvProblem)> {
    let line = line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")).unwrap_or(line);
    if line.is_empty() {
        return Err((0, CsvProblem::EmptyLine));
    }
    let text = str::from_utf8(line).map_err(|error| {
        // Up to there it is text, so its fields can be counted; that this half line is no whole one is expected.
        let before = String::from_utf8_lossy(&line[..error.valid_up_to()]);
        (Fields::new(&before).count().saturating_sub(1), CsvProblem::NotUtf8)
    })?;
    Fields::new(text).enumerate().map(|(index, field)| field.map_err(|problem| (index, problem))).collect()
}

/// Takes field after field off a line.
struct Fields<'a> {
    rest: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn new(line: &'a str) -> Self {
        Self { rest: Some(line) }
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<String, CsvProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let taken = match rest.strip_prefix('"') {
            Some(quoted) => take_quoted(quoted),
            None => take_plain(rest),
        };
        Some(taken.and_then(|(field, rest)| {
            self.rest = rest;
            match field.chars().find(|character| character.is_control()) {
                Some(control) => Err(CsvProblem::ControlCharacter(control)),
                None => Ok(field),
            }
        }))
    }
}

/// A field and what follows its comma; `None` at the end of the line.
type Taken<'a> = Result<(String, Option<&'a str>), CsvProblem>;

fn take_plain(rest: &str) -> Taken<'_> {
    let (field, rest) = match rest.split_once(',') {
        Some((field, rest)) => (field, Some(rest)),
        None => (rest, None),
    };
    if field.contains('"') { Err(CsvProblem::StrayQuote) } else { Ok((field.to_owned(), rest)) }
}

fn take_quoted(mut rest: &str) -> Taken<'_> {
    let mut field = String::new();
    loop {
        let (text, after) = rest.split_once('"').ok_or(CsvProblem::OpenQuote)?;
        field.push_str(text);
        match after.strip_prefix('"') {
            Some(doubled) => {
                field.push('"');
                rest = doubled;
            }
            None if after.is_empty() => return Ok((field, None)),
            None => {
                let next = after.strip_prefix(',').ok_or(CsvProblem::StrayQuote)?;
                return Ok((field, Some(next)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: &[&str] = &["name", "app", "role"];

    fn fields(text: &str) -> Vec<Vec<String>> {
        read(text.as_bytes(), COLUMNS).unwrap().into_iter().map(|record| record.fields).collect()
    }

    fn error(text: impl AsRef<[u8]>) -> String {
        read(text.as_ref(), COLUMNS).unwrap_err().to_string()
    }

    #[test]
    fn what_spreadsheets_write_is_accepted() {
        let rows = vec![vec!["a", "chat", "x, \"y\""], vec!["b", "", ""]];
        for text in [
            "name,app,role\na,chat,\"x, \"\"y\"\"\"\nb,,\n",
            "name,app,role\r\na,chat,\"x, \"\"y\"\"\"\r\nb,,\r\n",
            "\u{feff}name,app,role\r\na,chat,\"x, \"\"y\"\"\"\r\nb,,",
            "role,name,app\n\"x, \"\"y\"\"\",a,chat\n,b,\n",
            "\"name\",\"app\",\"role\"\n\"a\",\"chat\",\"x, \"\"y\"\"\"\n\"b\",\"\",\n",
        ] {
            assert_eq!(fields(text), rows, "{text:?}");
        }
    }

    #[test]
    fn a_header_alone_is_refused() {
        for text in ["name,app,role", "name,app,role\n", "\u{feff}name,app,role\r\n"] {
            assert_eq!(error(text), "line 2, column 1: no rows: the file ends after its header", "{text:?}");
        }
    }

    #[test]
    fn a_carriage_return_ends_no_line() {
        let cases = [
            ("name,app,role\r\na,chat,x\r", "line 2, column \"role\": control character '\\r'"),
            ("name,app,role\na,chat,x\n\r", "line 3, column \"name\": control character '\\r'"),
            ("name,app,role\r", "line 1, column 3: control character '\\r'"),
            ("name,app,role\ra,chat,x\r", "line 1, column 3: control character '\\r'"),
        ];
        for (text, expected) in cases {
            assert_eq!(error(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_broken_header_names_the_column() {
        let cases = [
            ("", "line 1, column 1: the file is empty; the first line names the columns name,app,role"),
            ("\n", "line 1, column 1: the line is empty"),
            ("name,app\n", "line 1, column \"role\": this column is missing in the header"),
            ("name,app,app,role\n", "line 1, column \"app\": this column is in the header twice"),
            (
                "name,app,role,extra\n",
                "line 1, column \"extra\": unknown column; the columns are name,app,role",
            ),
            ("name,app,Role\n", "line 1, column \"Role\": unknown column; the columns are name,app,role"),
            ("\u{feff}\u{feff}name,app,role\n", "line 1, column \"\\u{feff}name\": unknown column"),
        ];
        for (text, expected) in cases {
            assert!(error(text).starts_with(expected), "{text:?}: {}", error(text));
        }
    }

    #[test]
    fn a_broken_line_names_line_and_column() {
        let cases: [(&[u8], &str); 11] = [
            (b"a,chat", "line 3, column \"role\": the line has 2 fields where the header has 3"),
            (b"a,chat,x,y", "line 3, column 4: the line has 4 fields where the header has 3"),
            (b"", "line 3, column \"name\": the line is empty"),
            (b"a,\"chat,x", "line 3, column \"app\": a quote is opened and not closed on this line"),
            (b"a,\"chat\"x,x", "line 3, column \"app\": a quote stands inside a field"),
            (b"a,ch\"at,x", "line 3, column \"app\": a quote stands inside a field"),
            (b"a,chat,\xff", "line 3, column \"role\": the text is not UTF-8"),
            (b"\xffa,chat,x", "line 3, column \"name\": the text is not UTF-8"),
            (b"a\0,chat,x", "line 3, column \"name\": control character '\\0'"),
            (b"a,chat,x\ry", "line 3, column \"role\": control character '\\r'"),
            (b"a,chat,x\r\r", "line 3, column \"role\": control character '\\r'"),
        ];
        for (line, expected) in cases {
            let text = [b"name,app,role\r\nok,chat,x\r\n", line, b"\r\nok,chat,x\r\n"].concat();
            assert!(error(&text).starts_with(expected), "{expected}: {}", error(&text));
        }
    }

    proptest! {
        #[test]
        fn whatever_the_csv_crate_writes_is_read_back(
            rows in prop::collection::vec(prop::collection::vec("[^\\p{Cc}]{0,8}", 3), 1..8)
        ) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(COLUMNS).unwrap();
            rows.iter().for_each(|row| writer.write_record(row).unwrap());
            let text = writer.into_inner().unwrap();
            let read: Vec<_> = read(&text, COLUMNS).unwrap().into_iter().map(|record| record.fields).collect();
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn no_input_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, COLUMNS);
            let _ = read(&[b"name,app,role\n", bytes.as_slice()].concat(), COLUMNS);
        }
    }
}
