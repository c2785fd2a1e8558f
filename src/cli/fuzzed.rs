//! What is read of files, by itself: for the fuzzers in `fuzz/`, and for the property below.

use super::{roster, trace};

/// A roster, as `rollcall import` reads it.
pub fn roster(bytes: &[u8]) {
    let _ = roster::read::parse(bytes);
}

/// A trace, as `rollcall replay` reads it.
pub fn trace(bytes: &[u8]) {
    let _ = trace::parse(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_anything_panic(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
            roster(&bytes);
            trace(&bytes);
        }

        #[test]
        fn nor_do_rows_that_look_like_the_right_ones(
            rows in "([a-z@.,\"\r\n]|chat|owner|member.add|2018-08-23T04:11:39Z){0,60}"
        ) {
            roster(format!("organization,workspace,app,person,role\n{rows}").as_bytes());
            trace(format!("time,organization,op,workspace,app,person,role\n{rows}").as_bytes());
        }
    }
}
