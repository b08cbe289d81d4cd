//! Log entries: any bytes. What decodes is well formed; nothing may panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    use kms::store::log::{Entry, Position};
    if let Ok(entry) = Entry::decode(Position::ORIGIN, data.to_vec()) {
        // What is in a log is well formed and applies without a panic.
        let _ = entry.changes();
    }
});
