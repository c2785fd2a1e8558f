//! What is read of texts that anybody may send, by itself: for the fuzzers in `fuzz/`, and for the properties below.
//!
//! Each takes any bytes. It must neither panic nor take memory beyond its input, and what it accepts must hold what it says.

use uuid::Uuid;

use super::{filter, page};
use crate::{
    feed::Cursor,
    rules::ids::StoreId,
    seal::{Purpose, Seal},
};

fn seal() -> Seal {
    Seal::new(StoreId(Uuid::from_u128(7)), vec![(1, vec![7; 32])]).expect("a key")
}

/// A cursor: the bytes as the text, and as what a store might have sealed.
///
/// # Panics
///
/// Where a text opens that nobody sealed, or one that was sealed reads as another.
pub fn cursor(bytes: &[u8]) {
    let seal = seal();
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(Cursor::open(&seal, text).is_err(), "a text that nobody sealed");
    }
    let sealed = seal.seal(Purpose::Cursor, bytes);
    if let Ok(cursor) = Cursor::open(&seal, &sealed) {
        let again = Cursor::open(&seal, &cursor.seal(&seal)).expect("as it was sealed");
        assert_eq!(again, cursor);
    }
}

/// The filter of each list.
pub fn filter(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = filter::members(&text);
    let _ = filter::workspace_members(&text);
    let _ = filter::workspaces(&text);
    let _ = filter::organizations(&text);
    let _ = filter::without_invitees(&text, true);
}

/// A page token: the bytes as the text, and as what a store might have sealed.
///
/// # Panics
///
/// Where a text opens that nobody sealed for this list.
pub fn page_token(bytes: &[u8]) {
    let (seal, list) = (seal(), ["members", "organization"]);
    if let Ok(text) = std::str::from_utf8(bytes) {
        // None is the token of the first page.
        let opened = page::open(&seal, 10, text, &list).is_ok();
        assert_eq!(opened, text.is_empty(), "a text that nobody sealed");
    }
    let sealed = seal.seal(Purpose::Page, bytes);
    if let Ok(asked) = page::open(&seal, 10, &sealed, &list) {
        let _ = asked.after_id();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_anything_panic(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
            cursor(&bytes);
            filter(&bytes);
            page_token(&bytes);
        }

        #[test]
        fn nor_do_texts_that_look_like_the_right_ones(text in "[A-Za-z0-9_-]{0,200}", cut in 1..100_usize) {
            cursor(text.as_bytes());
            page_token(text.as_bytes());
            let seal = seal();
            let mut sealed = seal.seal(Purpose::Cursor, text.as_bytes());
            sealed.truncate(sealed.len().saturating_sub(cut));
            cursor(sealed.as_bytes());
        }
    }
}
