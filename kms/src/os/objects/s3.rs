//! A bucket behind the S3 protocol, by the `object_store` crate. Requests are signed and go over TLS; only to a
//! loopback address may they go without. Tries nothing again by itself: that is the caller's.

use super::http::Http;
use crate::env::{
    BoxFuture, Disk, Keeping, Listed, OBJECT_LIST_MAX, OBJECT_MAX_BYTES, ObjectError, ObjectName, Objects,
    S3Config,
};
use futures_util::StreamExt;
use http::{Method, Request, StatusCode, Uri};
use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AwsAuthorizer, AwsCredential},
    client::{HttpRequestBody, HttpService},
    path::Path,
};
use std::net::IpAddr;

/// See the module.
pub(super) struct Bucket {
    place: String,
    store: AmazonS3,
    http: Http,
    credential: AwsCredential,
    /// `https://endpoint/bucket`.
    url: String,
    region: String,
}

impl Bucket {
    /// Reads what the configuration names, and asks the store nothing.
    ///
    /// # Errors
    /// [`ObjectError::Refused`].
    pub(super) fn new(place: String, config: &S3Config, disk: &dyn Disk) -> Result<Bucket, ObjectError> {
        let refused = |why: String| ObjectError::Refused { place: place.clone(), why };
        let file = |path: &std::path::Path| {
            let read = disk.read(path).map_err(|error| refused(format!("{}: {error}", path.display())))?;
            read.ok_or_else(|| refused(format!("{} is not there", path.display())))
        };
        let endpoint = config.endpoint.trim_end_matches('/');
        check_endpoint(endpoint).map_err(|why| refused(why.to_owned()))?;
        let secret = String::from_utf8(file(&config.secret_file)?)
            .map_err(|_| refused(format!("{} is no text", config.secret_file.display())))?;
        let credential = AwsCredential {
            key_id: config.key_id.clone(),
            secret_key: secret.trim().to_owned(),
            token: None,
        };
        let ca = config.ca.as_deref().map(file).transpose()?;
        let http = Http::new(ca.as_deref()).map_err(refused)?;
        let store = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_access_key_id(&credential.key_id)
            .with_secret_access_key(&credential.secret_key)
            .with_virtual_hosted_style_request(false)
            .with_allow_http(true)
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_http_connector(http.clone())
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let url = format!("{endpoint}/{}", config.bucket);
        Ok(Bucket { place, store, http, credential, url, region: config.region.clone() })
    }

    fn path(&self, name: &ObjectName) -> Result<Path, ObjectError> {
        Path::parse(name.as_str())
            .map_err(|error| ObjectError::Other { place: self.place.clone(), why: error.to_string() })
    }

    fn bounded(&self, name: &ObjectName, bytes: u64) -> Result<(), ObjectError> {
        if bytes <= OBJECT_MAX_BYTES as u64 {
            return Ok(());
        }
        Err(ObjectError::TooLarge { place: self.place.clone(), name: name.clone(), bytes })
    }

    fn error(&self, error: &Error) -> ObjectError {
        let (place, why) = (self.place.clone(), error.to_string());
        // Of other answers the status stands in the text alone.
        let client_error = why.contains("status code: 4")
            && !["408", "425", "429"].iter().any(|passing| why.contains(&format!("status code: {passing}")));
        match error {
            // Where an object may be missing, its absence was told from this before.
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } | Error::NotFound { .. } => {
                ObjectError::Refused { place, why }
            }
            Error::Generic { .. } if client_error || why.contains("redirect") => {
                ObjectError::Refused { place, why }
            }
            Error::Generic { .. } => ObjectError::Unavailable { place, why },
            _ => ObjectError::Other { place, why },
        }
    }

    /// What the bucket answers about one side of itself; `None` if it has no such side.
    async fn property(&self, query: &str) -> Result<Option<String>, ObjectError> {
        let other = |why: String| ObjectError::Other { place: self.place.clone(), why };
        let uri: Uri = format!("{}?{query}", self.url)
            .parse()
            .map_err(|_| other("its endpoint or bucket is no URL".to_owned()))?;
        let mut request = Request::new(HttpRequestBody::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = uri;
        AwsAuthorizer::new(&self.credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| other(error.to_string()))?;
        let unavailable = |why: String| ObjectError::Unavailable { place: self.place.clone(), why };
        let answer = self.http.call(request).await.map_err(|error| unavailable(error.to_string()))?;
        let status = answer.status();
        let body = answer.into_body().bytes().await.map_err(|error| unavailable(error.to_string()))?;
        let body = String::from_utf8_lossy(&body).into_owned();
        match status {
            status if status.is_success() => Ok(Some(body)),
            // A server that does not know the question has nothing to keep old versions with.
            StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => Ok(None),
            StatusCode::NOT_FOUND if body.contains("ObjectLockConfigurationNotFoundError") => Ok(None),
            StatusCode::BAD_REQUEST
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND => {
                let why = format!(
                    "its `{query}` cannot be read ({status}), so it is not known whether deleting erases"
                );
                Err(ObjectError::Refused { place: self.place.clone(), why })
            }
            status => Err(unavailable(status.to_string())),
        }
    }
}

/// Without TLS only to this very machine.
fn check_endpoint(endpoint: &str) -> Result<(), &'static str> {
    let uri: Uri = endpoint.parse().map_err(|_| "its endpoint is no URL")?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        _ if host.is_empty() || uri.path() != "/" => Err("its endpoint is no URL of a host alone"),
        Some("https") => Ok(()),
        Some("http") if loopback => Ok(()),
        _ => Err("its endpoint must begin with https://"),
    }
}

impl Objects for Bucket {
    fn place(&self) -> &str {
        &self.place
    }

    fn put<'a>(&'a self, name: &'a ObjectName, contents: Vec<u8>) -> BoxFuture<'a, Result<(), ObjectError>> {
        Box::pin(async move {
            self.bounded(name, contents.len() as u64)?;
            let put = self.store.put(&self.path(name)?, PutPayload::from(contents)).await;
            put.map(drop).map_err(|error| self.error(&error))
        })
    }

    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Vec<u8>>, ObjectError>> {
        Box::pin(async move {
            let found = match self.store.get(&self.path(name)?).await {
                Ok(found) => found,
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(self.error(&error)),
            };
            self.bounded(name, found.meta.size)?;
            let bytes = found.bytes().await.map_err(|error| self.error(&error))?;
            Ok(Some(bytes.into()))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a ObjectName>,
    ) -> BoxFuture<'a, Result<Vec<Listed>, ObjectError>> {
        Box::pin(async move {
            let prefix = Path::parse(prefix.trim_end_matches('/'))
                .map_err(|error| ObjectError::Other { place: self.place.clone(), why: error.to_string() })?;
            let mut stream = match after {
                Some(after) => self.store.list_with_offset(Some(&prefix), &self.path(after)?),
                None => self.store.list(Some(&prefix)),
            };
            let mut listed: Vec<Listed> = Vec::new();
            while listed.len() < OBJECT_LIST_MAX
                && let Some(about) = stream.next().await
            {
                let about = about.map_err(|error| self.error(&error))?;
                // What is no name is somebody else's.
                let Ok(name) = ObjectName::new(about.location.as_ref()) else { continue };
                if listed.last().is_some_and(|last| last.name >= name) {
                    let why = "it does not list objects in the order of their names".to_owned();
                    return Err(ObjectError::Other { place: self.place.clone(), why });
                }
                listed.push(Listed { name, bytes: about.size });
            }
            Ok(listed)
        })
    }

    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), ObjectError>> {
        Box::pin(async move {
            match self.store.delete(&self.path(name)?).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.error(&error)),
            }
        })
    }

    fn keeping(&self) -> BoxFuture<'_, Result<Keeping, ObjectError>> {
        Box::pin(async move {
            let versioning = self.property("versioning").await?;
            let lock = self.property("object-lock").await?;
            Ok(Keeping {
                // `Enabled` or `Suspended`: suspended, it keeps what it had.
                versions: versioning.is_some_and(|answer| answer.contains("Status>")),
                locks: lock.is_some_and(|answer| answer.contains("ObjectLockEnabled>")),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::check_endpoint;

    #[test]
    fn requests_go_over_tls_or_stay_on_this_machine() {
        for good in [
            "https://s3.sbg.io.cloud.ovh.net",
            "http://127.0.0.1:9000",
            "http://localhost:9",
            "http://[::1]:9",
        ] {
            assert_eq!(check_endpoint(good), Ok(()), "{good}");
        }
        for bad in ["http://10.0.0.1", "s3.sbg.io", "ftp://127.0.0.1", "https://", "https://host/bucket", ""]
        {
            assert!(check_endpoint(bad).is_err(), "{bad}");
        }
    }
}
