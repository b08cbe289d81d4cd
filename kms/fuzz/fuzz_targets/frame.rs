//! Frames between nodes: any bytes. What decodes must come back the same; nothing may panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut buffer = bytes::BytesMut::from(data);
    // Whatever decodes must come back the same.
    while let Ok(Some(envelope)) = kms::wire::frame::decode(&mut buffer) {
        let mut again = bytes::BytesMut::new();
        if kms::wire::frame::encode(&envelope, &mut again).is_ok() {
            assert_eq!(kms::wire::frame::decode(&mut again).ok().flatten(), Some(envelope));
        }
    }
});
