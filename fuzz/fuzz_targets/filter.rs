//! `filter` of `src/grpc/fuzzed.rs`, with whatever the fuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rollcall::grpc::fuzzed::filter(bytes));
