//! Lists secrets in pages, and the children of a folder. Secrets are scanned in the order of their hashed paths, which tells nothing
//! of the paths; children are sorted by name. A cursor is where the last page ended, bound to the domain and to what is listed by a
//! keyed hash: a made-up or foreign one is refused.

use super::{
    path::{Folder, secret_key},
    read::Whole,
    record::{Secret, SecretRecord},
    view::{Described, SecretAndVersion, VersionView},
};
use crate::{
    crypto::{Canonical, equal, keyed_hash},
    engine::{HostService, list::PAGE_SIZES},
    error::Error,
    iam::{Authorized, Selection, action},
    limits::SCAN_MAX_RECORDS,
    record::RecordKey,
    vault::{DomainKey, KIND_SECRET, record_prefix},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use std::collections::BTreeSet;
use uuid::Uuid;

const TAG_BYTES: usize = 16;
/// Longest cursor, characters: the longest name of a child and the tag.
const CURSOR_MAX_CHARS: usize = 512;

/// Which page.
pub struct PageQuery {
    /// Where the last one ended.
    pub cursor: Option<String>,
    /// Most entries in the answer, from 10 to 100.
    pub size: usize,
}

/// One page, and the cursor of the next one if there is more.
pub struct SecretPage<T> {
    /// Entries.
    pub entries: Vec<T>,
    /// Where the next page begins.
    pub next: Option<String>,
}

impl<T> SecretPage<T> {
    /// The first `size` of what was found, one of which more tells whether something follows; `cursor` says where the next page begins.
    fn cut(mut found: Vec<T>, size: usize, cursor: impl FnOnce(&T) -> String) -> SecretPage<T> {
        let more = found.len() > size;
        found.truncate(size);
        let next = found.last().filter(|_| more).map(cursor);
        SecretPage { entries: found, next }
    }
}

fn tag(key: &DomainKey, list: &str, place: &[u8]) -> [u8; 32] {
    let text = Canonical::new("secret-cursor").add(list.as_bytes()).add(place);
    keyed_hash(&key.subkey("secret-list-cursor"), text.bytes())
}

fn cursor(key: &DomainKey, list: &str, place: &[u8]) -> String {
    B64.encode([&tag(key, list, place)[..TAG_BYTES], place].concat())
}

fn read_cursor(key: &DomainKey, list: &str, text: &str) -> Option<Vec<u8>> {
    if text.len() > CURSOR_MAX_CHARS {
        return None;
    }
    let bytes = B64.decode(text).ok()?;
    let (found, place) = bytes.split_at_checked(TAG_BYTES)?;
    equal(found, &tag(key, list, place)[..TAG_BYTES]).then(|| place.to_vec())
}

/// What is listed, as cursors are bound to it.
const SECRETS: &str = "secrets";

impl HostService {
    async fn from(
        &self,
        domain: Uuid,
        list: &str,
        query: &PageQuery,
    ) -> Result<(std::sync::Arc<DomainKey>, Option<Vec<u8>>), Error> {
        if !PAGE_SIZES.contains(&query.size) {
            return Err(Error::bad("X-Pagination-Size must be from 10 to 100"));
        }
        let key = self.domain_key(domain).await?;
        let foreign = || Error::bad("X-Pagination-Cursor is not one of this list");
        let place = match &query.cursor {
            None => None,
            Some(text) => Some(read_cursor(&key, list, text).ok_or_else(foreign)?),
        };
        Ok((key, place))
    }

    /// One scan's worth of secrets, as `view` shows them, and where the scan ended.
    async fn scan_secrets<T: PartialEq>(
        &self,
        may: &Selection<action::SecretGet>,
        after: Option<RecordKey>,
        limit: usize,
        view: impl Fn(&RecordKey, Secret) -> Option<T>,
    ) -> Result<(Vec<T>, Option<RecordKey>), Error> {
        let domain = may.domain();
        let prefix = record_prefix(KIND_SECRET, domain);
        self.decide(
            domain,
            |place| self.store.scan(place, prefix.clone(), after.clone(), limit),
            |domain_key, place, page| {
                let ended = page.more.then(|| page.records.last().map(|(key, _)| key.clone())).flatten();
                let mut shown = Vec::new();
                for (key, record) in &page.records {
                    let record =
                        self.open_record::<SecretRecord>(domain_key, place, key, record)?.into_value();
                    let secret = record.secret.filter(|secret| may.has(&secret.path));
                    shown.extend(secret.and_then(|secret| view(key, secret)));
                }
                Ok(Whole((shown, ended)))
            },
        )
        .await
        .map(|Whole(scanned)| scanned)
    }

    /// One page of a domain's secrets: of those that may be read.
    ///
    /// # Errors
    /// `BadArgument` for a page size or cursor that is none, `Refused`, `Integrity`.
    pub async fn list_secrets(
        &self,
        may: &Selection<action::SecretGet>,
        query: &PageQuery,
    ) -> Result<SecretPage<Described>, Error> {
        let domain = may.domain();
        let (domain_key, place) = self.from(domain, SECRETS, query).await?;
        let settings = self.domain_settings(domain).await?;
        let now_s = self.wall_s();
        let mut after = match place {
            None => None,
            Some(place) => {
                let hash = place
                    .try_into()
                    .map_err(|_| Error::bad("X-Pagination-Cursor is not one of this list"))?;
                Some(secret_key(domain, &hash))
            }
        };
        let mut found: Vec<(RecordKey, SecretAndVersion)> = Vec::new();
        // One more than asked for tells whether something follows.
        while found.len() <= query.size {
            let limit = (query.size + 1 - found.len()).min(SCAN_MAX_RECORDS);
            let (shown, ended) = self
                .scan_secrets(may, after.take(), limit, |key, secret| {
                    let version = secret.version(0, now_s);
                    Some((key.clone(), SecretAndVersion { secret: secret.view(), version }))
                })
                .await?;
            found.extend(shown);
            after = ended;
            if after.is_none() {
                break;
            }
        }
        let prefix = record_prefix(KIND_SECRET, domain).len();
        let page =
            SecretPage::cut(found, query.size, |(key, _)| cursor(&domain_key, SECRETS, &key.0[prefix..]));
        let described = |(_, is): (RecordKey, SecretAndVersion)| {
            let holds = is.secret.settings.within(&settings);
            Described { is, holds }
        };
        Ok(SecretPage { entries: page.entries.into_iter().map(described).collect(), next: page.next })
    }

    /// One page of the names in a folder, sorted: those of secrets that may be read, and of folders with a slash at their end. Looks at every
    /// secret of the domain.
    ///
    /// # Errors
    /// `SecretNotFound` if nothing is in it, `BadArgument`, `Refused`, `Integrity`.
    pub async fn list_folder(
        &self,
        may: &Selection<action::SecretGet>,
        folder: &Folder,
        query: &PageQuery,
    ) -> Result<SecretPage<String>, Error> {
        let list = format!("folder {}", folder.text());
        let (domain_key, place) = self.from(may.domain(), &list, query).await?;
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut after = None;
        loop {
            let (found, ended) = self
                .scan_secrets(may, after, SCAN_MAX_RECORDS, |_, secret| {
                    folder.child(secret.path.text()).map(str::to_owned)
                })
                .await?;
            names.extend(found);
            after = ended;
            if after.is_none() {
                break;
            }
        }
        if names.is_empty() {
            return Err(Error::secret_not_found());
        }
        let place = place.unwrap_or_default();
        let entries = names
            .into_iter()
            .filter(|name| name.as_bytes() > place.as_slice())
            .take(query.size + 1)
            .collect();
        Ok(SecretPage::cut(entries, query.size, |name| cursor(&domain_key, &list, name.as_bytes())))
    }

    /// One page of the versions of a secret, in the order of their numbers.
    ///
    /// # Errors
    /// `SecretNotFound`, `BadArgument`, `Refused`, `Integrity`.
    pub async fn list_versions(
        &self,
        may: &Authorized<action::SecretGet>,
        query: &PageQuery,
    ) -> Result<SecretPage<VersionView>, Error> {
        let path = may.of();
        let list = format!("versions {}", path.text());
        let (domain_key, place) = self.from(may.domain(), &list, query).await?;
        let after = place.and_then(|place| place.try_into().ok()).map_or(0, u32::from_be_bytes);
        let (_, versions) = self.get_versions(may).await?;
        let entries =
            versions.into_iter().filter(|version| version.number > after).take(query.size + 1).collect();
        Ok(SecretPage::cut(entries, query.size, |version| {
            cursor(&domain_key, &list, &version.number.to_be_bytes())
        }))
    }
}
