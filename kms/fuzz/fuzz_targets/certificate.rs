//! Node certificates: any DER. Refuses what names no node; may not panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = kms::wire::identity::Peer::from_certificate(data);
});
