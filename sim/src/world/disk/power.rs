//! What a loss of power leaves: of everything unsynced, each sector of each write, each change of length and
//! each change of a name survives or does not, on its own. Order among them means nothing to the disk.

use super::super::Stream;
use super::tree::{Body, FileChange, Pages, SECTOR_BYTES, Tree};

/// How much of what is unsynced survives, in quarters; drawn anew for each power cut, so that "all lost" and
/// "all kept" are as likely as the mixtures.
fn quarters(stream: &mut Stream) -> u64 {
    stream.range(0, 4)
}

fn apply(change: FileChange, to: &mut Pages, kept: u64, stream: &mut Stream) {
    match change {
        FileChange::SetLen(len) => {
            if stream.chance(kept, 4) {
                to.set_len(len);
            }
        }
        FileChange::Write { offset, data } => {
            let data = data.bytes();
            let mut start = 0;
            while start < data.len() {
                let at = offset + start as u64;
                let count = ((SECTOR_BYTES - at % SECTOR_BYTES) as usize).min(data.len() - start);
                if stream.chance(kept, 4) {
                    to.write(at, &data[start..start + count]);
                }
                start += count;
            }
        }
    }
}

impl Tree {
    /// The power goes: what is shown afterwards is what was durable plus what survived.
    pub(super) fn power_cut(&mut self, stream: &mut Stream) {
        let kept = quarters(stream);
        for inode in self.inodes.values_mut() {
            match &mut inode.body {
                Body::File { cached, durable, log } => {
                    for change in std::mem::take(log) {
                        apply(change, durable, kept, stream);
                    }
                    *cached = durable.clone();
                }
                Body::Dir { cached, durable, log } => {
                    for change in std::mem::take(log) {
                        if stream.chance(kept, 4) {
                            change.apply(durable);
                        }
                    }
                    *cached = durable.clone();
                }
            }
        }
        self.collect();
    }

    /// A sync failed: what was unsynced in the file reached the disk in parts, and the rest never will,
    /// although reads still show it.
    pub(super) fn fail_sync(&mut self, file: u64, stream: &mut Stream) {
        let kept = quarters(stream);
        if let Some(inode) = self.inodes.get_mut(&file)
            && let Body::File { durable, log, .. } = &mut inode.body
        {
            for change in std::mem::take(log) {
                apply(change, durable, kept, stream);
            }
        }
    }
}
