//! HTTP for S3 requests: one connection for each, TLS by rustls with ring, one deadline for all of it. Follows no redirect and
//! keeps nothing between requests.

use crate::env::OBJECT_MAX_BYTES;
use http::{HeaderValue, Uri, header::HOST};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
        HttpService,
    },
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{fmt, future::Future, io, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// For a request and all of its answer.
const DEADLINE: Duration = Duration::from_secs(60);
/// Largest answer, bytes: an object, or a page of a listing.
const ANSWER_MAX_BYTES: usize = OBJECT_MAX_BYTES + (1 << 20);

/// See the module.
#[derive(Clone)]
pub(super) struct Http(Arc<ClientConfig>);

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    /// Trusts the certificate authorities of `ca_pem`, or those that browsers trust.
    ///
    /// # Errors
    /// In words, if the file holds none.
    pub(super) fn new(ca_pem: Option<&[u8]>) -> Result<Http, String> {
        let mut roots = RootCertStore::empty();
        match ca_pem {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|error| format!("its CA file: {error:?}"))?;
                    roots.add(certificate).map_err(|error| format!("its CA file: {error}"))?;
                }
                if roots.is_empty() {
                    return Err("its CA file holds no certificate".to_owned());
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Http(Arc::new(config)))
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    async fn request(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let uri = request.uri().clone();
        let tls = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or_else(|| unusable("no host in the URL"))?;
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        // A literal IPv6 address stands in brackets in a URL and without them elsewhere.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let connected = TcpStream::connect((bare, port)).await;
        let stream = connected.map_err(|error| HttpError::new(HttpErrorKind::Connect, error))?;
        stream.set_nodelay(true).map_err(|error| HttpError::new(HttpErrorKind::Connect, error))?;
        if !tls {
            return exchange(stream, uri, request).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| unusable("no host name in the URL"))?;
        let connected = TlsConnector::from(self.0.clone()).connect(name, stream).await;
        let stream = connected.map_err(|error| HttpError::new(HttpErrorKind::Connect, error))?;
        exchange(stream, uri, request).await
    }
}

fn unusable(why: &'static str) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, io::Error::other(why))
}

/// Sends a request over a connection of its own and takes the whole answer.
async fn exchange<S>(stream: S, uri: Uri, mut request: HttpRequest) -> Result<HttpResponse, HttpError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error| HttpError::new(HttpErrorKind::Request, error);
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority).map_err(|_| unusable("no host in the URL"))?;
    request.headers_mut().insert(HOST, host);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| unusable("no path in the URL"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_MAX_BYTES).collect().await;
        let body = body.map_err(|error| HttpError::new_boxed(HttpErrorKind::Interrupted, error))?.to_bytes();
        let body = Full::new(body).map_err(|never| match never {});
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = connection => {
            ended.map_err(broken)?;
            // The server closed after its answer, which may not have been looked at yet.
            answer.await
        }
    }
}

impl HttpService for Http {
    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            match tokio::time::timeout(DEADLINE, self.request(request)).await {
                Ok(done) => done,
                Err(late) => Err(HttpError::new(HttpErrorKind::Timeout, late)),
            }
        })
    }
}

impl HttpConnector for Http {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}
