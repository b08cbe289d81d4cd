//! A bare service: hyper, rustls and *ring* doing what a host does for encrypt and sign - the same JSON, the same base64, the same AES-GCM or
//! signature - and nothing else: no database is asked, nobody is looked up, nothing is logged. In a thread of its own, so that its processor time can be told.

use crate::cores::Cores;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use kms::{
    env::{Env, Purpose},
    wire::hyper_io::HyperIo,
};
use ring::{aead, rand::SystemRandom, rsa, signature};
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use std::{convert::Infallible, sync::Arc, thread::JoinHandle};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// Name of its thread.
pub const THREAD: &str = "bare";

#[derive(Deserialize)]
struct Encrypt {
    plaintext: String,
}

#[derive(Serialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Sign {
    message: String,
}

#[derive(Serialize)]
struct Signed {
    signature: String,
}

/// Keys of bare *ring*, ready for use.
pub struct Keys {
    seal: aead::LessSafeKey,
    ec: signature::EcdsaKeyPair,
    rsa: rsa::KeyPair,
    random: SystemRandom,
}

impl Keys {
    /// Of a P-256 key and an RSA key, in PKCS #8.
    ///
    /// # Panics
    /// If they are none.
    #[expect(clippy::disallowed_methods, reason = "bare ring draws for itself")]
    pub fn new(ec: &[u8], rsa: &[u8]) -> Keys {
        let random = SystemRandom::new();
        let seal = aead::UnboundKey::new(&aead::AES_256_GCM, &[7; 32]).expect("32 bytes");
        let ec =
            signature::EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, ec, &random);
        Keys {
            seal: aead::LessSafeKey::new(seal),
            ec: ec.expect("a P-256 key"),
            rsa: rsa::KeyPair::from_pkcs8(rsa).expect("an RSA key"),
            random,
        }
    }

    /// Signs with P-256 and SHA-256.
    ///
    /// # Panics
    /// If ring does not.
    pub fn sign_ec(&self, message: &[u8]) -> Vec<u8> {
        self.ec.sign(&self.random, message).expect("signs").as_ref().to_vec()
    }

    /// Signs with RSA, PKCS #1 v1.5 and SHA-256.
    ///
    /// # Panics
    /// If ring does not.
    pub fn sign_rsa(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public().modulus_len()];
        let with = &signature::RSA_PKCS1_SHA256;
        self.rsa.sign(with, &self.random, message, &mut signature).expect("signs");
        signature
    }

    fn encrypt(&self, env: &Env, text: Vec<u8>) -> Vec<u8> {
        let nonce: [u8; 12] = env.random(Purpose::Public).expect("randomness");
        let mut sealed = text;
        let bound = aead::Aad::from(b"bound to this");
        let unique = aead::Nonce::assume_unique_for_key(nonce);
        self.seal.seal_in_place_append_tag(unique, bound, &mut sealed).expect("seals");
        [nonce.as_slice(), &sealed].concat()
    }

    fn answer(&self, env: &Env, path: &str, body: &[u8]) -> Option<Vec<u8>> {
        if path.ends_with("/encrypt") {
            let body: Encrypt = serde_json::from_slice(body).ok()?;
            let sealed = self.encrypt(env, STANDARD.decode(body.plaintext).ok()?);
            return serde_json::to_vec(&Encrypted { ciphertext: STANDARD.encode(sealed) }).ok();
        }
        let body: Sign = serde_json::from_slice(body).ok()?;
        let message = STANDARD.decode(body.message).ok()?;
        let signature =
            if path.ends_with("/ec/sign") { self.sign_ec(&message) } else { self.sign_rsa(&message) };
        serde_json::to_vec(&Signed { signature: STANDARD.encode(signature) }).ok()
    }
}

/// The running service.
pub struct Bare {
    address: String,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Bare {
    /// Listens on a free port of 127.0.0.1, kept to these cores. Paths end with `/encrypt`, `/ec/sign` or `/rsa/sign`.
    ///
    /// # Panics
    /// If there is none.
    pub async fn start(tls: Arc<ServerConfig>, keys: Keys, cores: Option<Cores>) -> Bare {
        let (stop, stopped) = oneshot::channel();
        let (listens, listening) = oneshot::channel();
        let work = move || {
            cores.inspect(Cores::keep_thread);
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let env = kms::os::env();
                let mut listener = env.net.bind("127.0.0.1:0").await.expect("a free port");
                let _ = listens.send(listener.local_address());
                let (acceptor, keys, own) = (TlsAcceptor::from(tls), Arc::new(keys), env.clone());
                let _accepting = env
                    .spawn("bare", async move {
                        while let Ok((stream, _)) = listener.accept().await {
                            let (acceptor, keys, env) = (acceptor.clone(), keys.clone(), own.clone());
                            own.spawn("bare connection", async move {
                                let Ok(stream) = acceptor.accept(stream).await else { return };
                                let service = service_fn(|request| answered(&env, &keys, request));
                                let served = http1::Builder::new()
                                    .auto_date_header(false)
                                    .serve_connection(HyperIo::new(stream), service);
                                // Ends with the client's connection.
                                let _ = served.await;
                            });
                        }
                    })
                    .abort_on_drop();
                let _ = stopped.await;
            });
        };
        let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(work).expect("a thread");
        Bare { address: listening.await.expect("it listens"), stop, thread }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops it.
    ///
    /// # Panics
    /// If it panicked.
    pub fn stop(self) {
        let _ = self.stop.send(());
        self.thread.join().expect("it ended well");
    }
}

async fn answered(
    env: &Env,
    keys: &Keys,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let answer = keys.answer(env, &path, &body);
    let status = if answer.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let mut response = Response::new(Full::new(Bytes::from(answer.unwrap_or_default())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(response)
}
