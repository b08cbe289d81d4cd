//! Lists keys in the order of their ids, in pages. A token is the last id shown, bound to the domain by a
//! keyed hash: a made-up or foreign token is refused. Each scan is answered under doubt like any read. Who may not read a key
//! learns nothing of it, not even from where a page ends.

use super::{HostService, KeyRecord, KeyView, lifecycle::State, read::Same};
use crate::{
    crypto::{equal, keyed_hash},
    error::Error,
    iam::{Selection, action},
    limits::SCAN_MAX_RECORDS,
    record::RecordKey,
    store::api::{Page, Place},
    vault::{BadSeal, DomainKey, KIND_SERVICE_KEY, record_key, record_prefix},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use uuid::Uuid;

/// Smallest and largest page that may be asked for.
pub const PAGE_SIZES: std::ops::RangeInclusive<usize> = 10..=100;
const TAG_BYTES: usize = 16;
const TOKEN_BYTES: usize = 16 + TAG_BYTES;

/// Which keys a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StateFilter {
    /// All but destroyed ones: what a list without a filter shows.
    #[default]
    Present,
    /// Really all.
    All,
    /// Those in one state.
    Only(State),
}

impl StateFilter {
    /// The filter of a query word.
    pub fn of_word(word: &str) -> Option<StateFilter> {
        match word {
            "all" => Some(StateFilter::All),
            _ => State::of_word(word).map(StateFilter::Only),
        }
    }

    fn shows(self, state: State) -> bool {
        match self {
            StateFilter::Present => !state.is_destroyed(),
            StateFilter::All => true,
            StateFilter::Only(only) => state == only,
        }
    }
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Which keys.
    pub filter: StateFilter,
    /// Where the last page ended.
    pub token: Option<String>,
    /// Most keys in the answer; one of `PAGE_SIZES`.
    pub max: usize,
}

/// One page.
pub struct KeyPage {
    /// Keys, in the order of their ids.
    pub keys: Vec<KeyView>,
    /// Where the next page begins; never empty.
    pub token: String,
    /// Whether more keys follow.
    pub truncated: bool,
}

/// One scan's worth: the keys shown, and where the scan ended (`None`: at the end of the domain).
#[derive(PartialEq)]
struct Scanned {
    keys: Vec<KeyView>,
    ended: Option<RecordKey>,
}

impl Same for Scanned {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

fn tag(key: &DomainKey, id: &[u8]) -> [u8; 32] {
    keyed_hash(&key.subkey("list-token"), id)
}

fn token(key: &DomainKey, id: Uuid) -> String {
    let mut bytes = Vec::with_capacity(TOKEN_BYTES);
    bytes.extend_from_slice(id.as_bytes());
    bytes.extend_from_slice(&tag(key, id.as_bytes())[..TAG_BYTES]);
    B64.encode(bytes)
}

fn read_token(key: &DomainKey, token: &str) -> Option<Uuid> {
    if token.len() != TOKEN_BYTES.div_ceil(3) * 4 - 1 {
        return None;
    }
    let bytes = B64.decode(token).ok()?;
    let (id, found) = bytes.split_at_checked(16)?;
    equal(found, &tag(key, id)[..TAG_BYTES]).then(|| Uuid::from_slice(id).ok()).flatten()
}

impl HostService {
    /// One page of a domain's keys: of those that may be read, which are all that is told of.
    ///
    /// # Errors
    /// `BadArgument` for a page size or token that is none, `Refused`, `Integrity`.
    pub async fn list(&self, may: &Selection<action::Get>, query: &ListQuery) -> Result<KeyPage, Error> {
        if !PAGE_SIZES.contains(&query.max) {
            return Err(Error::bad("max must be from 10 to 100"));
        }
        let domain = may.domain();
        let domain_key = self.domain_key(domain).await?;
        let from = match &query.token {
            None => None,
            Some(text) => Some(
                read_token(&domain_key, text)
                    .ok_or_else(|| Error::bad("continuation-token is not one of this domain"))?,
            ),
        };
        let mut after = from.map(|id| record_key(KIND_SERVICE_KEY, domain, id));
        let mut keys: Vec<KeyView> = Vec::new();
        // One more than asked for tells whether something follows.
        while keys.len() <= query.max {
            let limit = match query.filter {
                StateFilter::All => query.max + 1 - keys.len(),
                _ => SCAN_MAX_RECORDS,
            };
            let scanned = self.scan(may, after.take(), limit.min(SCAN_MAX_RECORDS), query.filter).await?;
            keys.extend(scanned.keys);
            after = scanned.ended;
            if after.is_none() {
                break;
            }
        }
        let truncated = keys.len() > query.max;
        keys.truncate(query.max);
        let last = keys.last().map(|key| key.id).or(from).unwrap_or(Uuid::nil());
        Ok(KeyPage { token: token(&domain_key, last), keys, truncated })
    }

    async fn scan(
        &self,
        may: &Selection<action::Get>,
        after: Option<RecordKey>,
        limit: usize,
        filter: StateFilter,
    ) -> Result<Scanned, Error> {
        let domain = may.domain();
        let prefix = record_prefix(KIND_SERVICE_KEY, domain);
        self.decide(
            domain,
            |place| self.store.scan(place, prefix.clone(), after.clone(), limit),
            |key, place, page| {
                self.shown(key, place, page, |view| filter.shows(view.state) && may.has(&view.id))
            },
        )
        .await
    }

    /// What a list shows of one page.
    fn shown(
        &self,
        key: &DomainKey,
        place: Place,
        page: Page,
        shows: impl Fn(&KeyView) -> bool,
    ) -> Result<Scanned, BadSeal> {
        let mut keys = Vec::with_capacity(page.records.len());
        let ended = page.more.then(|| page.records.last().map(|(key, _)| key.clone())).flatten();
        for (record_key, record) in &page.records {
            let view = self.open_record::<KeyRecord>(key, place, record_key, record)?.into_value().view;
            if shows(&view) {
                keys.push(view);
            }
        }
        Ok(Scanned { keys, ended })
    }
}
