//! Writes an export to a file, page by page. `FILE.part` grows, and `FILE.resume` says how much of it counts and where the next page begins; the
//! file has its name once it is whole. Run again after it was broken off, it goes on.

use super::{Customer, CustomerError, Progress};
use crate::{
    api::rest::transfer::{ExportAnswer, ExportAsked},
    container::{Counts, thumbprint},
    crypto::asymmetric::{Jwk, PublicKey},
    env::{BlockFile, Disk, OpenMode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

const AGAIN: &str = "Run the same command again: it goes on where it was";

/// Where an export is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    /// Bytes of the part that count.
    length: u64,
    /// Where the next page begins.
    cursor: String,
    /// For whom it is.
    recipient: String,
}

/// What there is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// What is in it.
    pub counts: Counts,
    /// How large it is.
    pub bytes: u64,
    /// An export that was broken off was finished.
    pub resumed: bool,
}

fn beside(out: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(out);
    name.push(ending);
    name.into()
}

/// What goes wrong with a file, by its name.
fn at(path: &Path) -> impl Fn(io::Error) -> CustomerError {
    move |error| CustomerError::Disk(path.into(), error)
}

/// The part, and how much of it counts; with a cursor if there is something already.
type Begun = (Box<dyn BlockFile>, u64, Option<String>);

fn begin(disk: &dyn Disk, out: &Path, recipient: &str) -> Result<Begun, CustomerError> {
    let (part, resume) = (beside(out, ".part"), beside(out, ".resume"));
    let name = out.file_name().map(PathBuf::from).unwrap_or_default();
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names = disk.list(parent).map_err(at(parent))?;
    let is_there = |path: &Path| path.file_name().is_some_and(|name| names.iter().any(|there| there == name));
    if names.contains(&name) {
        return Err(CustomerError::Usage(format!("{} is there already: nothing was changed", out.display())));
    }
    if let Some(text) = disk.read(&resume).map_err(at(&resume))? {
        let resume_at: Resume = serde_json::from_slice(&text).map_err(|_| {
            CustomerError::Usage(format!("{} is damaged: remove it to begin again", resume.display()))
        })?;
        if resume_at.recipient != recipient {
            return Err(CustomerError::Usage(format!(
                "{} is of an export for another key: remove it to begin again",
                resume.display()
            )));
        }
        let short = || {
            let (part, resume) = (part.display(), resume.display());
            CustomerError::Usage(format!(
                "{part} is shorter than it was: remove it and {resume} to begin again"
            ))
        };
        if !is_there(&part) {
            return Err(short());
        }
        let file = disk.open(&part, OpenMode::Existing).map_err(at(&part))?;
        if file.len().map_err(at(&part))? < resume_at.length {
            return Err(short());
        }
        file.set_len(resume_at.length).map_err(at(&part))?;
        return Ok((file, resume_at.length, Some(resume_at.cursor)));
    }
    // Nothing of it counts; whoever still writes to it holds its lock.
    let mode = if is_there(&part) { OpenMode::Existing } else { OpenMode::CreateNew };
    let file = disk.open(&part, mode).map_err(at(&part))?;
    file.set_len(0).map_err(at(&part))?;
    Ok((file, 0, None))
}

/// Takes a domain out into a file, for the owner of a key.
///
/// # Errors
/// [`CustomerError`]. What was written stays, to go on with.
pub async fn export(
    customer: &mut Customer,
    to: &PublicKey,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<Exported, CustomerError> {
    let env = customer.env().clone();
    let disk = &*env.disk;
    let (part, resume) = (beside(out, ".part"), beside(out, ".resume"));
    let recipient = hex::encode(thumbprint(to));
    let (file, mut length, mut cursor) = begin(disk, out, &recipient)?;
    let resumed = cursor.is_some();
    loop {
        let asked = match cursor.take() {
            Some(cursor) => ExportAsked { wrapping_key: None, cursor: Some(cursor) },
            None => ExportAsked { wrapping_key: Some(Jwk::of_public(to)), cursor: None },
        };
        let asked = serde_json::to_vec(&asked).map_err(|error| CustomerError::Strange(error.to_string()))?;
        let answer: ExportAnswer = customer.ask("export", asked.into(), AGAIN).await?;
        let data = STANDARD.decode(answer.data).map_err(|error| CustomerError::Strange(error.to_string()))?;
        file.write(length, &data).and_then(|()| file.sync_data()).map_err(at(&part))?;
        length += data.len() as u64;
        progress.done("exported", &answer.counts, length);
        let Some(next) = answer.cursor else {
            drop(file);
            disk.rename(&part, out).map_err(at(&part))?;
            if disk.read(&resume).map_err(at(&resume))?.is_some() {
                disk.remove(&resume).map_err(at(&resume))?;
            }
            disk.sync_dir(out.parent().unwrap_or(Path::new(""))).map_err(at(out))?;
            return Ok(Exported { counts: answer.counts, bytes: length, resumed });
        };
        let state = Resume { length, cursor: next, recipient: recipient.clone() };
        let text = serde_json::to_vec(&state).map_err(|error| CustomerError::Strange(error.to_string()))?;
        disk.write_atomic(&resume, &text, true).map_err(at(&resume))?;
        cursor = Some(state.cursor);
    }
}
