//! Bodies of REST requests: any bytes. Refuses with an error; may not panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kms::api::rest::read_every_body(data));
