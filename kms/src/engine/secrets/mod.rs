//! Secrets: JSON objects at paths, in numbered versions. Both of the REST interface's views of them - the native one and the dialect
//! of HashiCorp Vault's KV version 2 - call these operations. Shows no data that it was not asked for by name, and none of a
//! version that is deactivated or deleted.

mod change;
mod config;
mod document;
mod list;
mod path;
mod read;
mod record;
mod settings;
mod states;
mod transfer;
mod versions;
mod view;
mod write;

pub use document::Document;
pub use list::{PageQuery, SecretPage};
pub use path::{Folder, PATH_MAX_CHARS, SecretPath};
pub use read::{VersionOf, WithData};
pub(in crate::engine) use record::Secret;
pub use record::{BroughtRecord, ConfigRecord, SecretRecord, VersionRecord};
pub use settings::{
    CustomMetadata, DEFAULT_VERSIONS, Effective, METADATA_MAX_ENTRIES, METADATA_NAME_MAX_CHARS,
    METADATA_VALUE_MAX_CHARS, Settings, Span, VERSIONS_MAX,
};
pub use states::{MaySet, NAMED_MAX};
pub(in crate::engine) use transfer::{Brought, Draining, brought as secret_brought, version_brought};
pub use versions::{VersionMeta, VersionState};
pub use view::{Described, SecretAndVersion, SecretView, VersionView};
pub use write::{CustomChange, MayWrite, MetadataChange, NewSecret, Patched, Setting, Written};
