//! Reads a container from a file, a frame at a time: whatever it holds, no more than one frame is in memory. Each frame is opened in its place,
//! and each line read into its type, before anybody is given it.

use super::{
    BadContainer, ContentKey, Counts, Frame, Head, Record,
    head::LEAD_BYTES,
    seal::{FRAME_HEAD_BYTES, frame_head, open_frame},
};
use crate::{crypto::sha256, env::BlockFile};
use std::io;

/// A container that is being read.
pub struct Reader<'a> {
    file: &'a dyn BlockFile,
    head: Head,
    /// Where the frames begin, and the hash of what is before.
    frames: (u64, [u8; 32]),
    at: u64,
    place: Frame,
    counts: Counts,
}

/// The records of one frame.
pub struct Sheet {
    /// In their order.
    pub records: Vec<Record>,
    /// Bytes of the file up to its end.
    pub read: u64,
}

fn cut(number: u64) -> impl Fn(io::Error) -> BadContainer {
    move |error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BadContainer::Truncated(number),
        _ => BadContainer::Disk(error),
    }
}

impl<'a> Reader<'a> {
    /// Reads the head.
    ///
    /// # Errors
    /// [`BadContainer`].
    pub fn open(file: &'a dyn BlockFile) -> Result<Reader<'a>, BadContainer> {
        let short = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BadContainer::NoContainer,
            _ => BadContainer::Disk(error),
        };
        let mut lead = [0; LEAD_BYTES];
        file.read(0, &mut lead).map_err(short)?;
        let mut bytes = vec![0; LEAD_BYTES + Head::lead(&lead)?];
        file.read(0, &mut bytes).map_err(short)?;
        let head = Head::read(&bytes[LEAD_BYTES..])?;
        let frames = (bytes.len() as u64, sha256(&bytes));
        let mut reader = Reader {
            file,
            head,
            frames,
            at: 0,
            place: Frame { number: 0, last: false, before: frames.1 },
            counts: Counts::default(),
        };
        reader.rewind();
        Ok(reader)
    }

    /// What the head says. Nobody has vouched for it before the first frame has opened.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// How many of each were read so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The hash of what was read last: after the end, it stands for the whole container.
    pub fn digest(&self) -> [u8; 32] {
        self.place.before
    }

    /// Begins again with the first frame.
    pub fn rewind(&mut self) {
        self.at = self.frames.0;
        self.place = Frame { number: 0, last: false, before: self.frames.1 };
        self.counts = Counts::default();
    }

    /// The next frame; `None` after the last one.
    ///
    /// # Errors
    /// [`BadContainer`]: then nothing behind it can be read either.
    pub fn next(&mut self, key: &ContentKey) -> Result<Option<Sheet>, BadContainer> {
        if self.place.last {
            return match self.file.len()? {
                end if end == self.at => Ok(None),
                _ => Err(BadContainer::Trailing),
            };
        }
        let number = self.place.number;
        let mut head = [0; FRAME_HEAD_BYTES];
        self.file.read(self.at, &mut head).map_err(cut(number))?;
        let (len, last) = frame_head(&head).ok_or(BadContainer::Frame(number))?;
        let mut frame = vec![0; FRAME_HEAD_BYTES + len];
        self.file.read(self.at, &mut frame).map_err(cut(number))?;
        self.place.last = last;
        let text = open_frame(key, &self.place, &frame).map_err(|_| BadContainer::Frame(number))?;
        let mut records = Vec::new();
        for (at, line) in text.expose().split_inclusive(|byte| *byte == b'\n').enumerate() {
            let bad = |why| BadContainer::Record { frame: number, line: at + 1, why };
            let record: Record = serde_json::from_slice(line)
                .map_err(|_| bad("it is no record of this format; a newer program may know it"))?;
            match &record {
                _ if matches!(records.last(), Some(Record::End(_))) => {
                    return Err(bad("it stands behind the end"));
                }
                Record::End(counts) if last && *counts == self.counts => {}
                Record::End(_) => return Err(bad("the counts are not those of the container")),
                record => self.counts.add(record),
            }
            records.push(record);
        }
        if last && !matches!(records.last(), Some(Record::End(_))) {
            return Err(BadContainer::Record {
                frame: number,
                line: records.len(),
                why: "the end is missing",
            });
        }
        self.at += frame.len() as u64;
        self.place = Frame { number: number + 1, last, before: sha256(&frame) };
        Ok(Some(Sheet { records, read: self.at }))
    }
}
