//! The production side of object stores against a real S3 server, `s3s-fs`, in this process: signed requests over a socket. That
//! server has no versioning, so its answers about that are put in front of it.

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use kms::{
    env::{Env, Keeping, ObjectError, ObjectName, Objects, S3Config, StoreAt, StoreConfig},
    os,
    wire::hyper_io::HyperIo,
};
use kms_sim::conformance;
use s3s::{
    Body, HttpError,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

const KEY_ID: &str = "backup-writer";
const SECRET: &str = "not much of a secret";

/// A server with the buckets `plain`, `versioned`, `suspended` and `locked`.
struct Server {
    env: Env,
    dir: PathBuf,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Server {
    async fn start(name: &str) -> Server {
        let env = os::env();
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("s3-{name}-{}", std::process::id()));
        for bucket in ["plain", "versioned", "suspended", "locked"] {
            env.disk.create_dir(&dir.join("data").join(bucket)).expect("a bucket");
        }
        env.disk.write_atomic(&dir.join("secret"), format!("{SECRET}\n").as_bytes(), true).expect("a file");
        env.disk.write_atomic(&dir.join("wrong"), b"something else", true).expect("a file");
        let storage = s3s_fs::FileSystem::new(dir.join("data")).expect("a directory");
        let mut builder = S3ServiceBuilder::new(storage);
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = builder.build();
        let mut listener = env.net.bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_address();
        let connections = env.clone();
        drop(env.spawn("s3", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                let answer = service_fn(move |request| answer(service.clone(), request));
                drop(connections.spawn("s3 connection", async move {
                    // A client that went is no matter.
                    let _ = http1::Builder::new().serve_connection(HyperIo::new(stream), answer).await;
                }));
            }
        }));
        Server { env, dir, address }
    }

    async fn open(&self, bucket: &str, secret: &str) -> Arc<dyn Objects> {
        let config = S3Config {
            endpoint: format!("http://{}", self.address),
            bucket: bucket.to_owned(),
            region: "sbg".to_owned(),
            key_id: KEY_ID.to_owned(),
            secret_file: self.dir.join(secret),
            ca: None,
        };
        let config = StoreConfig { region: "eu-west-sbg".to_owned(), at: StoreAt::S3(config) };
        self.env.stores.open(&config).await.expect("opens")
    }
}

/// What Amazon's documentation shows for GetBucketVersioning and GetObjectLockConfiguration; everything else is the server's.
async fn answer(service: S3Service, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let xml = |text: &str| Ok(Response::new(Body::from(text.to_owned())));
    let versioning = |status: &str| {
        let space = "http://s3.amazonaws.com/doc/2006-03-01/";
        xml(&format!("<VersioningConfiguration xmlns=\"{space}\">{status}</VersioningConfiguration>"))
    };
    let bucket = request.uri().path().trim_matches('/').to_owned();
    match (bucket.as_str(), request.uri().query()) {
        ("versioned", Some("versioning")) => versioning("<Status>Enabled</Status>"),
        ("suspended", Some("versioning")) => versioning("<Status>Suspended</Status>"),
        ("locked", Some("versioning")) => versioning(""),
        ("locked", Some("object-lock")) => xml(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
        ),
        _ => hyper::service::Service::call(&service, request).await,
    }
}

#[tokio::test]
async fn a_real_s3_server_conforms() {
    let server = Server::start("plain").await;
    let store = server.open("plain", "secret").await;
    conformance::objects::all(&*store).await.expect("conforms");
}

#[tokio::test]
async fn a_bucket_that_keeps_versions_or_locks_says_so() {
    let server = Server::start("keeping").await;
    let mut said = Vec::new();
    for bucket in ["versioned", "suspended", "locked", "plain"] {
        said.push(server.open(bucket, "secret").await.keeping().await.expect("answers"));
    }
    let keeping = |versions, locks| Keeping { versions, locks };
    assert_eq!(said, [keeping(true, false), keeping(true, false), keeping(false, true), Keeping::default()]);
}

#[tokio::test]
async fn wrong_credentials_missing_buckets_and_dead_servers_are_told_apart() {
    let server = Server::start("errors").await;
    let name = ObjectName::new("days/one").expect("a name");
    let wrong = server.open("plain", "wrong").await;
    for error in [
        wrong.put(&name, vec![1]).await.expect_err("not signed by the secret"),
        wrong.list("", None).await.expect_err("not signed by the secret"),
        wrong.keeping().await.expect_err("not signed by the secret"),
        server.open("nowhere", "secret").await.list("", None).await.expect_err("no bucket"),
    ] {
        assert!(matches!(error, ObjectError::Refused { .. }), "{error:?}");
        assert!(!error.to_string().contains(SECRET));
    }
    let nobody =
        Server { env: server.env.clone(), dir: server.dir.join("gone"), address: "127.0.0.1:1".to_owned() };
    server.env.disk.create_dir(&nobody.dir).expect("a directory");
    server.env.disk.write_atomic(&nobody.dir.join("secret"), SECRET.as_bytes(), true).expect("a file");
    let store = nobody.open("plain", "secret").await;
    for error in [
        store.get(&name).await.expect_err("nobody there"),
        store.put(&name, vec![1]).await.expect_err("nobody there"),
        store.list("", None).await.expect_err("nobody there"),
        store.delete(&name).await.expect_err("nobody there"),
        store.keeping().await.expect_err("nobody there"),
    ] {
        assert!(matches!(error, ObjectError::Unavailable { .. }), "{error:?}");
    }
}
