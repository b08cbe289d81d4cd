//! The view of secrets that clients of HashiCorp Vault's KV version 2 know: `/v1/secret`, named in snake_case. The same secrets as in the
//! native view. `PUT` is taken wherever `POST` is, and the method `LIST`, as Vault's own clients send them; the header
//! `X-Vault-Token` is a bearer token where there is no client certificate, and is not looked at where there is one.

use super::{
    body::{self, Whole},
    call::Call,
    paths::{Paths, get, post},
    reply::{Reply, failure_with, json, no_content},
    secrets::{date, decoded, flag, page, paged, path, rest_of_path, urn},
};
use crate::{
    engine::secrets::{
        CustomChange, CustomMetadata, Document, Folder, MaySet, MayWrite, MetadataChange, PageQuery, Patched,
        SecretPath, Setting, Settings, Span, VersionMeta, VersionState, VersionView, Written,
    },
    error::{Code, Error},
    iam::action,
};
use axum::body::Body;
use http::{Request, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// All paths.
pub(super) fn routes() -> Paths {
    let secret = |rest: &str| format!("/api/{{okmsId}}/v1/secret/{rest}");
    let metadata = get(metadata).post(set_metadata).put(set_metadata).patch(patch_metadata);
    Paths::new()
        .route(&secret("config"), get(config).post(set_config).put(set_config))
        .route(&secret("data/{*path}"), get(read).post(write).put(write).patch(patch).delete(delete_latest))
        .route(&secret("subkeys/{*path}"), get(subkeys))
        .route(&secret("delete/{*path}"), post(deactivate).put(deactivate))
        .route(&secret("undelete/{*path}"), post(activate).put(activate))
        .route(&secret("destroy/{*path}"), post(destroy).put(destroy))
        .route(&secret("metadata"), get(list).list(list))
        .route(&secret("metadata/"), get(list).list(list))
        .route(&secret("metadata/{*path}"), metadata.delete(delete_all).list(list_folder))
}

fn raw(request: &Request<Body>) -> &str {
    rest_of_path(request, 5)
}

fn secret_path(request: &Request<Body>) -> Result<SecretPath, Error> {
    path(request, raw(request))
}

/// Tells a field that is `null` from one that is not there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `PostSecretOptions`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct OptionsAsked {
    cas: Option<Whole>,
}

/// `PostSecretRequest`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataAsked {
    data: Option<Document>,
    options: Option<OptionsAsked>,
}

impl DataAsked {
    fn into_parts(self) -> Result<(Document, Option<u32>), Error> {
        let data = self.data.ok_or_else(|| Error::bad("data must be an object"))?;
        Ok((data, self.options.unwrap_or_default().cas.map(|Whole(cas)| cas)))
    }
}

/// `SecretVersionsRequest`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionsAsked {
    versions: Vec<Whole>,
}

/// `PostConfigRequest`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigAsked {
    cas_required: Option<bool>,
    delete_version_after: Option<String>,
    max_versions: Option<Whole>,
}

/// `SecretUpdatableMetadata`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetadataAsked {
    #[serde(default, deserialize_with = "given")]
    cas_required: Option<Option<bool>>,
    #[serde(default, deserialize_with = "given")]
    custom_metadata: Option<Option<BTreeMap<String, Option<String>>>>,
    #[serde(default, deserialize_with = "given")]
    delete_version_after: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    max_versions: Option<Option<Whole>>,
}

/// How metadata is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// What is given is set, and custom metadata replaced.
    Set,
    /// What is given is set, and custom metadata merged. OVHcloud's clients send `null` for all that they were not given.
    Patch,
    /// The same, and `null` takes back what was set (RFC 7396).
    MergePatch,
}

impl Writing {
    /// What a patch is, by its content type.
    fn of_patch(request: &Request<Body>) -> Writing {
        let merge = "application/merge-patch+json";
        match body::essence(request.headers()).eq_ignore_ascii_case(merge) {
            true => Writing::MergePatch,
            false => Writing::Patch,
        }
    }

    fn setting<T>(self, asked: Option<Option<T>>) -> Setting<T> {
        match asked {
            Some(Some(value)) => Setting::Set(value),
            Some(None) if self == Writing::MergePatch => Setting::Unset,
            _ => Setting::Keep,
        }
    }
}

impl MetadataAsked {
    fn into_change(self, writing: Writing) -> Result<MetadataChange, Error> {
        let span = self.delete_version_after.map(|span| span.map(Span::new).transpose()).transpose()?;
        let custom = match self.custom_metadata {
            None => CustomChange::Keep,
            Some(None) if writing == Writing::MergePatch => CustomChange::Replace(CustomMetadata::default()),
            Some(None) => CustomChange::Keep,
            Some(Some(changes)) if writing != Writing::Set => CustomChange::Patch(changes),
            Some(Some(entries)) => {
                let entries: Option<_> =
                    entries.into_iter().map(|(name, value)| Some((name, value?))).collect();
                let entries = entries.ok_or_else(|| Error::bad("a value of custom metadata is null"))?;
                CustomChange::Replace(CustomMetadata::new(entries)?)
            }
        };
        Ok(MetadataChange {
            cas_required: writing.setting(self.cas_required),
            max_versions: writing
                .setting(self.max_versions.map(|versions| versions.map(|Whole(versions)| versions))),
            deactivate_after: writing.setting(span),
            custom,
        })
    }
}

/// An answer with data.
#[derive(Serialize)]
struct Answer<T> {
    request_id: Uuid,
    data: T,
}

fn answer<T: Serialize>(call: &Call, data: T) -> Reply {
    json(StatusCode::OK, &Answer { request_id: call.note.id, data })
}

/// `SecretVersionMetadata`.
#[derive(Serialize)]
struct VersionBody {
    created_time: String,
    custom_metadata: Option<BTreeMap<String, String>>,
    deletion_time: String,
    destroyed: bool,
    version: u32,
}

fn custom_body(custom: &CustomMetadata) -> Option<BTreeMap<String, String>> {
    Some(custom.entries().clone()).filter(|entries| !entries.is_empty())
}

fn deletion_time(meta: &VersionMeta) -> String {
    meta.deactivates_s.map(date).unwrap_or_default()
}

impl VersionBody {
    fn of(version: &VersionView, custom: &CustomMetadata) -> VersionBody {
        VersionBody {
            created_time: date(version.meta.created_s),
            custom_metadata: custom_body(custom),
            deletion_time: deletion_time(&version.meta),
            destroyed: version.state == VersionState::Deleted,
            version: version.number,
        }
    }
}

impl From<&Written> for VersionBody {
    fn from(written: &Written) -> VersionBody {
        VersionBody::of(&written.version, &written.custom)
    }
}

/// `SecretData`.
#[derive(Serialize)]
struct DataBody {
    data: Option<Document>,
    metadata: VersionBody,
}

/// `SecretDataSubkeys`.
#[derive(Serialize)]
struct SubkeysBody {
    metadata: VersionBody,
    subkeys: serde_json::Value,
}

/// `SecretVersionMetadataShort`.
#[derive(Serialize)]
struct ShortBody {
    created_time: String,
    deletion_time: String,
    destroyed: bool,
}

/// `SecretMetadata` of a secret.
#[derive(Serialize)]
struct MetadataBody {
    cas_required: bool,
    created_time: String,
    current_version: u32,
    custom_metadata: Option<BTreeMap<String, String>>,
    urn: String,
    delete_version_after: String,
    max_versions: u32,
    oldest_version: u32,
    updated_time: String,
    versions: BTreeMap<u32, ShortBody>,
}

/// `SecretMetadata` of a folder.
#[derive(Serialize)]
struct KeysBody {
    keys: Vec<String>,
}

/// `PostConfigRequest` as an answer.
#[derive(Serialize)]
struct ConfigBody {
    cas_required: bool,
    delete_version_after: String,
    max_versions: u32,
}

fn span_body(span: Option<&Span>) -> String {
    span.map_or("0s", Span::text).to_owned()
}

fn gone(version: &VersionView) -> Error {
    Error::new(
        Code::VersionNotFound,
        match version.state {
            VersionState::Deleted => "the version is deleted, for good",
            _ => "the version is deactivated",
        },
    )
}

async fn config(call: Call) -> Reply {
    let may = call.may_here::<action::SecretConfigGet>()?;
    let settings = call.app.service.secret_config(&may).await?;
    let body = ConfigBody {
        cas_required: settings.cas_required.unwrap_or_default(),
        delete_version_after: span_body(settings.deactivate_after.as_ref()),
        max_versions: settings.max_versions.unwrap_or_default(),
    };
    answer(&call, body)
}

async fn set_config(call: Call, request: Request<Body>) -> Reply {
    let may = call.may_here::<action::SecretConfigUpdate>()?;
    let asked: ConfigAsked = body::secret(&call.app, request, true).await?;
    let newer = Settings {
        cas_required: asked.cas_required,
        max_versions: asked.max_versions.map(|Whole(versions)| versions),
        deactivate_after: asked.delete_version_after.map(Span::new).transpose()?,
    };
    call.app.service.set_secret_config(&may, &newer).await?;
    no_content()
}

async fn write(call: Call, request: Request<Body>) -> Reply {
    let path = secret_path(&request)?;
    let may = MayWrite { create: call.may(path.clone()), version: call.may(path) };
    let asked: DataAsked = body::secret(&call.app, request, true).await?;
    let (data, cas) = asked.into_parts()?;
    let written = call.app.service.put_version(&may, data, cas).await?;
    answer(&call, VersionBody::from(&written))
}

async fn read(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::SecretVersionGetData>(secret_path(&request)?)?;
    let number = body::query_number(&request, "version", 0)?;
    let found = call.app.service.get_data(&may, number).await?;
    let metadata = VersionBody::of(&found.of.version, &found.of.custom);
    match found.data {
        Some(data) => answer(&call, DataBody { data: Some(data), metadata }),
        None => failure_with(gone(&found.of.version), &DataBody { data: None, metadata }),
    }
}

async fn patch(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::SecretVersionCreate>(secret_path(&request)?)?;
    let asked: DataAsked = body::secret(&call.app, request, false).await?;
    let (data, cas) = asked.into_parts()?;
    match call.app.service.patch_version(&may, data, cas).await? {
        Patched::Done(written) => answer(&call, VersionBody::from(&written)),
        Patched::Gone(found) => failure_with(gone(&found.version), &VersionBody::from(&found)),
    }
}

async fn delete_latest(call: Call, request: Request<Body>) -> Reply {
    let may = MaySet::Deactivate(call.may(secret_path(&request)?)?);
    call.app.service.set_version_states(&may, &[0]).await?;
    no_content()
}

async fn subkeys(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::SecretSubKeysGet>(secret_path(&request)?)?;
    let number = body::query_number(&request, "version", 0)?;
    let depth = body::query_number(&request, "depth", 0)?;
    let (of, found) = call.app.service.get_subkeys(&may, number, depth).await?;
    let metadata = VersionBody::of(&of.version, &of.custom);
    match found {
        Some(subkeys) => answer(&call, SubkeysBody { metadata, subkeys }),
        None => Err(gone(&of.version).into()),
    }
}

async fn set_states(call: Call, request: Request<Body>, may: MaySet) -> Reply {
    let asked: VersionsAsked = body::secret(&call.app, request, true).await?;
    let versions: Vec<u32> = asked.versions.into_iter().map(|Whole(version)| version).collect();
    if versions.is_empty() || versions.contains(&0) {
        return Err(Error::bad("versions must be numbers of versions, and at least one").into());
    }
    call.app.service.set_version_states(&may, &versions).await?;
    no_content()
}

async fn deactivate(call: Call, request: Request<Body>) -> Reply {
    let may = MaySet::Deactivate(call.may(secret_path(&request)?)?);
    set_states(call, request, may).await
}

async fn activate(call: Call, request: Request<Body>) -> Reply {
    let may = MaySet::Activate(call.may(secret_path(&request)?)?);
    set_states(call, request, may).await
}

async fn destroy(call: Call, request: Request<Body>) -> Reply {
    let may = MaySet::Delete(call.may(secret_path(&request)?)?);
    set_states(call, request, may).await
}

async fn list(call: Call, request: Request<Body>) -> Reply {
    children(&call, &page(&request)?, &Folder::root()).await
}

async fn children(call: &Call, query: &PageQuery, folder: &Folder) -> Reply {
    let may = call.select::<action::SecretGet>()?;
    let found = call.app.service.list_folder(&may, folder, query).await?;
    let body = Answer { request_id: call.note.id, data: KeysBody { keys: found.entries } };
    paged(&body, found.next)
}

async fn list_folder(call: Call, request: Request<Body>) -> Reply {
    let folder = Folder::new(&decoded(raw(&request))?)?;
    children(&call, &page(&request)?, &folder).await
}

async fn metadata(call: Call, request: Request<Body>) -> Reply {
    if flag(&request, "list")? {
        return list_folder(call, request).await;
    }
    let may = call.may::<action::SecretGet>(secret_path(&request)?)?;
    let (secret, versions) = call.app.service.get_versions(&may).await?;
    let short = |version: VersionView| {
        let body = ShortBody {
            created_time: date(version.meta.created_s),
            deletion_time: deletion_time(&version.meta),
            destroyed: version.state == VersionState::Deleted,
        };
        (version.number, body)
    };
    let body = MetadataBody {
        cas_required: secret.settings.cas_required.unwrap_or_default(),
        created_time: date(secret.created_s),
        current_version: secret.current,
        custom_metadata: custom_body(&secret.custom),
        urn: urn(call.domain(), &secret.path),
        delete_version_after: span_body(secret.settings.deactivate_after.as_ref()),
        max_versions: secret.settings.max_versions.unwrap_or_default(),
        oldest_version: secret.oldest,
        updated_time: date(secret.updated_s),
        versions: versions.into_iter().map(short).collect(),
    };
    answer(&call, body)
}

async fn change_metadata(call: Call, request: Request<Body>, writing: Writing) -> Reply {
    let path = secret_path(&request)?;
    let sets = writing == Writing::Set;
    let make = sets.then(|| call.may::<action::SecretCreate>(path.clone()));
    let may = call.may::<action::SecretUpdateMetadata>(path)?;
    let asked: MetadataAsked = body::secret(&call.app, request, sets).await?;
    call.app.service.set_metadata(&may, make, asked.into_change(writing)?).await?;
    no_content()
}

async fn set_metadata(call: Call, request: Request<Body>) -> Reply {
    change_metadata(call, request, Writing::Set).await
}

async fn patch_metadata(call: Call, request: Request<Body>) -> Reply {
    let writing = Writing::of_patch(&request);
    change_metadata(call, request, writing).await
}

async fn delete_all(call: Call, request: Request<Body>) -> Reply {
    let may = call.may::<action::SecretDelete>(secret_path(&request)?)?;
    call.app.service.delete_secret(&may).await?;
    no_content()
}
