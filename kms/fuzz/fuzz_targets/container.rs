//! Containers of exported domains: any bytes, as a head, as a frame and as what stands in one. Refuses with an error; may not panic.

#![no_main]

use kms::{
    container::{ContentKey, Frame, Reader, Record, open_frame},
    crypto::Secret,
    env::BlockFile,
};
use std::io;

/// A file that is only read.
struct Held<'a>(&'a [u8]);

impl BlockFile for Held<'_> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let bytes = self.0[from..].get(..buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let key = ContentKey::new(Secret::copy_from(&[7; 32]).expect("32 bytes"));
    let file = Held(data);
    if let Ok(mut reader) = Reader::open(&file) {
        // Nothing made up opens.
        assert!(reader.next(&key).is_err());
    }
    assert!(open_frame(&key, &Frame { number: 0, last: true, before: [0; 32] }, data).is_err());
    let _ = serde_json::from_slice::<Record>(data);
});
