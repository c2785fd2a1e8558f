//! `token` of `src/identity/fuzzed.rs`, with whatever the fuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rollcall::identity::fuzzed::token(bytes));
