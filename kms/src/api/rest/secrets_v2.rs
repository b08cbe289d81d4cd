//! The native view of secrets: `/v2/secret` and `/v2/secretConfig`, named in camelCase as documented.
//!
//! In a URL with plain slashes, `/version` or `/version/{number}` at the end is about versions; a secret whose own path ends so is
//! reached by its percent-encoded path.

use super::{
    body::{self, Whole},
    call::Call,
    paths::{Paths, allow, get, not_taken, post},
    reply::{Reply, json, no_content},
    secrets::{date, flag, page, paged, path, rest_of_path, urn},
};
use crate::{
    engine::secrets::{
        CustomChange, CustomMetadata, Described, Document, MaySet, MetadataChange, NewSecret, SecretPath,
        Settings, Span, VERSIONS_MAX, VersionState, VersionView,
    },
    error::Error,
    iam::action,
};
use axum::body::Body;
use http::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// All paths.
pub(super) fn routes() -> Paths {
    let below = get(read).put(update).post(add).delete(delete).otherwise(otherwise);
    let taken = [
        ("/api/{okmsId}/v2/secret/{path}", OF_SECRET),
        ("/api/{okmsId}/v2/secret/{path}/version", OF_VERSIONS),
        ("/api/{okmsId}/v2/secret/{path}/version/{version}", OF_VERSION),
    ];
    Paths::new()
        .route("/api/{okmsId}/v2/secret", post(create).get(list))
        .route_for("/api/{okmsId}/v2/secret/{*path}", below, &taken)
        .route("/api/{okmsId}/v2/secretConfig", get(config).put(set_config))
}

/// What a URL that is about a secret takes.
const OF_SECRET: &[&str] = &["GET", "PUT", "DELETE"];
/// What a URL that is about all its versions takes.
const OF_VERSIONS: &[&str] = &["GET", "POST"];
/// What a URL that is about one version takes.
const OF_VERSION: &[&str] = &["GET", "PUT"];

/// What a URL below `/v2/secret/` is about.
enum At {
    Secret(SecretPath),
    Versions(SecretPath),
    Version(SecretPath, u32),
}

impl At {
    /// The answer to another method than those that it takes.
    fn not_taken(&self) -> Reply {
        let names = match self {
            At::Secret(_) => OF_SECRET,
            At::Versions(_) => OF_VERSIONS,
            At::Version(..) => OF_VERSION,
        };
        Ok(not_taken(allow(names.iter().copied())))
    }
}

fn at(request: &Request<Body>) -> Result<At, Error> {
    let rest = rest_of_path(request, 4);
    if let Some(of) = rest.strip_suffix("/version") {
        return Ok(At::Versions(path(request, of)?));
    }
    match rest.rsplit_once("/version/") {
        Some((of, number)) if !of.is_empty() && !number.contains('/') => {
            Ok(At::Version(path(request, of)?, version_number(number)?))
        }
        _ => Ok(At::Secret(path(request, rest)?)),
    }
}

fn version_number(text: &str) -> Result<u32, Error> {
    let number = body::number(text).filter(|number| (1..=VERSIONS_MAX).contains(number));
    number.ok_or_else(|| Error::bad("version must be from 1 to 24000"))
}

fn version_asked(request: &Request<Body>) -> Result<u32, Error> {
    body::query(request, "version")?.map_or(Ok(0), |text| version_number(&text))
}

fn cas(request: &Request<Body>) -> Result<Option<u32>, Error> {
    let number = |text: String| body::number(&text).filter(|cas| *cas <= VERSIONS_MAX);
    body::query(request, "cas")?
        .map(|text| number(text).ok_or_else(|| Error::bad("cas must be from 0 to 24000")))
        .transpose()
}

/// `SecretV2MetadataShort`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct MetadataAsked {
    cas_required: Option<bool>,
    custom_metadata: Option<BTreeMap<String, String>>,
    deactivate_version_after: Option<String>,
    max_versions: Option<Whole>,
}

impl MetadataAsked {
    fn into_parts(self) -> Result<(Settings, Option<CustomMetadata>), Error> {
        let settings = Settings {
            cas_required: self.cas_required,
            max_versions: self.max_versions.map(|Whole(versions)| versions),
            deactivate_after: self.deactivate_version_after.map(Span::new).transpose()?,
        };
        settings.check()?;
        Ok((settings, self.custom_metadata.map(CustomMetadata::new).transpose()?))
    }
}

/// `SecretV2VersionShort`, `PostSecretVersionV2Request`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionAsked {
    data: Option<Document>,
}

impl VersionAsked {
    fn into_data(self) -> Result<Document, Error> {
        self.data.ok_or_else(|| Error::bad("data must be an object"))
    }
}

/// `PostSecretV2Request`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretAsked {
    path: String,
    version: VersionAsked,
    metadata: Option<MetadataAsked>,
}

impl SecretAsked {
    fn into_new(self) -> Result<NewSecret, Error> {
        let (settings, custom) =
            self.metadata.map(MetadataAsked::into_parts).transpose()?.unwrap_or_default();
        Ok(NewSecret { data: self.version.into_data()?, settings, custom: custom.unwrap_or_default() })
    }
}

/// `PutSecretV2Request`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateAsked {
    metadata: Option<MetadataAsked>,
    version: Option<VersionAsked>,
}

/// `PutSecretVersionV2Request`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StateAsked {
    state: String,
}

/// `PutSecretConfigV2Request`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ConfigAsked {
    cas_required: Option<bool>,
    deactivate_version_after: Option<String>,
    max_versions: Option<Whole>,
}

/// `SecretV2Metadata`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MetadataBody {
    cas_required: bool,
    created_at: String,
    current_version: u32,
    custom_metadata: BTreeMap<String, String>,
    urn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deactivate_version_after: Option<String>,
    max_versions: u32,
    oldest_version: u32,
    updated_at: String,
}

impl MetadataBody {
    fn of(domain: Uuid, described: &Described) -> MetadataBody {
        let (secret, holds) = (&described.is.secret, &described.holds);
        MetadataBody {
            cas_required: holds.cas_required,
            created_at: date(secret.created_s),
            current_version: secret.current,
            custom_metadata: secret.custom.entries().clone(),
            urn: urn(domain, &secret.path),
            deactivate_version_after: holds.deactivate_after.as_ref().map(|span| span.text().to_owned()),
            max_versions: holds.max_versions,
            oldest_version: secret.oldest,
            updated_at: date(secret.updated_s),
        }
    }
}

/// `SecretV2Version`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionBody {
    id: u32,
    state: &'static str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deactivated_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Document>,
}

impl VersionBody {
    fn of(version: &VersionView, data: Option<Document>) -> VersionBody {
        let (state, ended) = match version.state {
            VersionState::Active => ("active", false),
            VersionState::Deactivated => ("deactivated", true),
            VersionState::Deleted => ("deleted", true),
        };
        VersionBody {
            id: version.number,
            state,
            created_at: date(version.meta.created_s),
            deactivated_at: version.meta.deactivates_s.filter(|_| ended).map(date),
            data,
        }
    }
}

/// `PostSecretV2Response`, `PutSecretV2Response`, `GetSecretV2Response`.
#[derive(Serialize)]
struct SecretBody {
    path: String,
    metadata: MetadataBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<VersionBody>,
}

impl SecretBody {
    fn of(domain: Uuid, described: &Described, version: Option<VersionBody>) -> SecretBody {
        let metadata = MetadataBody::of(domain, described);
        SecretBody { path: described.is.secret.path.clone(), metadata, version }
    }
}

/// `GetSecretConfigV2Response`, `PutSecretConfigV2Response`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigBody {
    cas_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deactivate_version_after: Option<String>,
    max_versions: u32,
}

impl From<Settings> for ConfigBody {
    fn from(settings: Settings) -> ConfigBody {
        let holds = Settings::default().within(&settings);
        ConfigBody {
            cas_required: holds.cas_required,
            deactivate_version_after: holds.deactivate_after.map(|span| span.text().to_owned()),
            max_versions: holds.max_versions,
        }
    }
}

/// What no path below `/v2/secret/` takes: `Allow` is of the one that is asked.
async fn otherwise(request: Request<Body>) -> Reply {
    at(&request)?.not_taken()
}

async fn create(call: Call, request: Request<Body>) -> Reply {
    let asked: SecretAsked = body::secret(&call.app, request, false).await?;
    let path = SecretPath::new(asked.path.clone())?;
    let _ = call.note.secret.set(path.clone());
    let may = call.may::<action::SecretCreate>(path)?;
    let made = call.app.service.create_secret(&may, asked.into_new()?).await?;
    json(StatusCode::OK, &SecretBody::of(call.domain(), &made, None))
}

async fn list(call: Call, request: Request<Body>) -> Reply {
    let may = call.select::<action::SecretGet>()?;
    let found = call.app.service.list_secrets(&may, &page(&request)?).await?;
    let body = |described: &Described| {
        let version = described.is.version.as_ref().map(|version| VersionBody::of(version, None));
        SecretBody::of(call.domain(), described, version)
    };
    let bodies: Vec<_> = found.entries.iter().map(body).collect();
    paged(&bodies, found.next)
}

async fn read(call: Call, request: Request<Body>) -> Reply {
    let service = &call.app.service;
    let with_data = flag(&request, "includeData")?;
    let data_of = |path: &SecretPath| match with_data {
        true => call.may::<action::SecretVersionGetData>(path.clone()).map(Some),
        false => Ok(None),
    };
    match at(&request)? {
        At::Secret(path) => {
            let (may_data, may) = (data_of(&path)?, call.may::<action::SecretGet>(path)?);
            let number = version_asked(&request)?;
            let (found, data) = match may_data {
                Some(may_data) => service.get_secret_with_data(&may, &may_data, number).await?,
                None => (service.get_secret(&may, number).await?, None),
            };
            let version = found.is.version.as_ref().map(|version| VersionBody::of(version, data));
            json(StatusCode::OK, &SecretBody::of(call.domain(), &found, version))
        }
        At::Versions(path) => {
            let may = call.may::<action::SecretGet>(path)?;
            let found = service.list_versions(&may, &page(&request)?).await?;
            let bodies: Vec<_> = found.entries.iter().map(|version| VersionBody::of(version, None)).collect();
            paged(&bodies, found.next)
        }
        At::Version(path, number) => {
            let (may_data, may) = (data_of(&path)?, call.may::<action::SecretGet>(path)?);
            let body = match may_data {
                Some(may) => {
                    let with = service.get_data(&may, number).await?;
                    VersionBody::of(&with.of.version, with.data)
                }
                None => VersionBody::of(&service.get_version(&may, number).await?, None),
            };
            json(StatusCode::OK, &body)
        }
    }
}

async fn update(call: Call, request: Request<Body>) -> Reply {
    match at(&request)? {
        At::Secret(path) => {
            let cas = cas(&request)?;
            let asked: UpdateAsked = body::secret(&call.app, request, false).await?;
            let metadata = match asked.metadata {
                None => None,
                Some(metadata) => {
                    let may = call.may::<action::SecretUpdateMetadata>(path.clone())?;
                    let (settings, custom) = metadata.into_parts()?;
                    let custom = custom.map_or(CustomChange::Keep, CustomChange::Replace);
                    Some((may, MetadataChange::setting(settings, custom)))
                }
            };
            let version = match asked.version {
                None => None,
                Some(version) => {
                    Some((call.may::<action::SecretVersionCreate>(path.clone())?, version.into_data()?))
                }
            };
            let found = call.app.service.update_secret(metadata, version, cas).await?;
            json(StatusCode::OK, &SecretBody::of(call.domain(), &found, None))
        }
        At::Version(path, number) => {
            let asked: StateAsked = body::secret(&call.app, request, false).await?;
            let may = match asked.state.as_str() {
                "active" => MaySet::Activate(call.may(path)?),
                "deactivated" => MaySet::Deactivate(call.may(path)?),
                "deleted" => MaySet::Delete(call.may(path)?),
                _ => return Err(Error::bad("state must be active, deactivated or deleted").into()),
            };
            let version = call.app.service.set_version_state(&may, number).await?;
            json(StatusCode::OK, &VersionBody::of(&version, None))
        }
        at @ At::Versions(_) => at.not_taken(),
    }
}

async fn add(call: Call, request: Request<Body>) -> Reply {
    let path = match at(&request)? {
        At::Versions(path) => path,
        other => return other.not_taken(),
    };
    let may = call.may::<action::SecretVersionCreate>(path)?;
    let cas = cas(&request)?;
    let asked: VersionAsked = body::secret(&call.app, request, false).await?;
    let written = call.app.service.add_version(&may, asked.into_data()?, cas).await?;
    json(StatusCode::OK, &VersionBody::of(&written.version, None))
}

async fn delete(call: Call, request: Request<Body>) -> Reply {
    let path = match at(&request)? {
        At::Secret(path) => path,
        other => return other.not_taken(),
    };
    let may = call.may::<action::SecretDelete>(path)?;
    call.app.service.delete_secret(&may).await?;
    no_content()
}

async fn config(call: Call) -> Reply {
    let may = call.may_here::<action::SecretConfigGet>()?;
    json(StatusCode::OK, &ConfigBody::from(call.app.service.secret_config(&may).await?))
}

async fn set_config(call: Call, request: Request<Body>) -> Reply {
    let may = call.may_here::<action::SecretConfigUpdate>()?;
    let asked: ConfigAsked = body::secret(&call.app, request, false).await?;
    let newer = Settings {
        cas_required: asked.cas_required,
        max_versions: asked.max_versions.map(|Whole(versions)| versions),
        deactivate_after: asked.deactivate_version_after.map(Span::new).transpose()?,
    };
    json(StatusCode::OK, &ConfigBody::from(call.app.service.set_secret_config(&may, &newer).await?))
}
