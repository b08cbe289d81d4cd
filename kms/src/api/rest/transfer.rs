//! A whole domain out and in, for its owner: pages of a sealed container, and records of one that its owner has opened. The bodies are as
//! both ends read and write them.

use super::{
    body,
    call::Call,
    paths::{Paths, post},
    reply::{Reply, json},
};
use crate::{
    container::{Counts, Record},
    crypto::asymmetric::{Jwk, JwkKey},
    engine::transfer::ExportFrom,
    error::Error,
    iam::action,
};
use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, StatusCode};
use serde::{Deserialize, Serialize};

/// What is asked for a page of an export: one of the two.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExportAsked {
    /// The owner's public key, to begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapping_key: Option<Jwk>,
    /// Where the last page ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A page of an export.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportAnswer {
    /// The next bytes of the container, base64.
    pub data: String,
    /// Where the next page begins; not there: the container is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// What is in the container so far.
    pub counts: Counts,
}

/// Records that are to come in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ImportAsked<R> {
    /// Nothing is written: it is said what would become of them.
    #[serde(default)]
    pub dry_run: bool,
    /// As they stand in a container.
    pub records: R,
}

/// What became of records.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportAnswer<W> {
    /// `new`, `present` or `conflict` for each, in their order.
    pub outcomes: Vec<W>,
}

/// All paths.
pub(super) fn routes() -> Paths {
    Paths::new().route("/api/{okmsId}/v1/export", post(export)).route("/api/{okmsId}/v1/import", post(import))
}

async fn export(call: Call, request: Request<Body>) -> Reply {
    let may = call.may_here::<action::DomainExport>()?;
    let asked: ExportAsked = body::json(&call.app, request).await?;
    let app = &call.app;
    let page = match (asked.wrapping_key, asked.cursor) {
        (Some(jwk), None) => {
            let key = jwk.key().map_err(|error| Error::bad(error.0))?;
            let JwkKey::Public(to) = &key else {
                return Err(
                    Error::bad("wrappingKey must be a public key: keep the private one to yourself").into()
                );
            };
            app.service.export_domain(&may, ExportFrom::Begin { to, region: &app.region }).await?
        }
        (None, Some(cursor)) => app.service.export_domain(&may, ExportFrom::Cursor(&cursor)).await?,
        _ => return Err(Error::bad("an export begins with wrappingKey, and goes on with cursor").into()),
    };
    let data = STANDARD.encode(page.data);
    json(StatusCode::OK, &ExportAnswer { data, cursor: page.next, counts: page.counts })
}

async fn import(call: Call, request: Request<Body>) -> Reply {
    let may = call.may_here::<action::DomainImport>()?;
    let asked: ImportAsked<Vec<Record>> = body::import(&call.app, request).await?;
    let outcomes = call.app.service.import_records(&may, asked.records, asked.dry_run).await?;
    let outcomes = outcomes.into_iter().map(|outcome| outcome.word()).collect();
    json(StatusCode::OK, &ImportAnswer { outcomes })
}
