//! node.toml: any text. Refuses with the parser's words; may not panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = kms::config::NodeConfig::parse(text);
    }
});
