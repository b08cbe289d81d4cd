//! What a running service leaves in its memory. Where the machine lets nobody read that, this says so and proves nothing.

use crate::{
    cli::{Dev, text_of},
    common::Scratch,
    rest::Client,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use kms::crypto::asymmetric::{Jwk, PrivateKey, Shape};
use serde_json::json;
use std::{
    io::{self, Read, Seek, SeekFrom},
    time::Duration,
};

/// How much of a number is looked for, bytes: an allocator writes over the first ones of what it is given back.
const PART: std::ops::Range<usize> = 32..64;

/// How often parts of numbers stand in what a process has written to its memory, in either order of their bytes.
#[expect(clippy::disallowed_methods, reason = "a test looks at a process from outside")]
fn copies(process: u32, numbers: &[Vec<u8>]) -> io::Result<usize> {
    let forward = numbers.iter().map(|number| number[PART].to_vec());
    let backward =
        numbers.iter().map(|number| number.iter().rev().copied().collect::<Vec<u8>>()[PART].to_vec());
    let parts: Vec<Vec<u8>> = forward.chain(backward).collect();
    let mut memory = std::fs::File::open(format!("/proc/{process}/mem"))?;
    let (mut found, mut read) = (0, 0);
    for line in std::fs::read_to_string(format!("/proc/{process}/maps"))?.lines() {
        let mut words = line.split(' ');
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        let bounds = range.split_once('-').map(|(from, to)| (number(from), number(to)));
        let (Some((from, to)), true) = (bounds, rights.starts_with("rw")) else { continue };
        let mut bytes = vec![0; usize::try_from(to - from).expect("it fits")];
        memory.seek(SeekFrom::Start(from))?;
        // A mapping that is gone by now has nothing in it.
        if memory.read_exact(&mut bytes).is_ok() {
            read += 1;
            found += parts.iter().map(|part| memchr::memmem::find_iter(&bytes, part).count()).sum::<usize>();
        }
    }
    if read == 0 {
        return Err(io::Error::other("not one mapping gives its bytes"));
    }
    Ok(found)
}

fn number(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).expect("an address")
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "says that it proves nothing here")]
async fn a_destroyed_key_is_nowhere_in_memory() {
    let scratch = Scratch::new("wiped");
    let (dir, dev) = Dev::anywhere(&scratch);
    let region = dir.join("region");
    let [ca, cert, key] =
        ["ca.pem", "clients/client-1.crt", "clients/client-1.key"].map(|name| text_of(&region.join(name)));
    let domain = text_of(&region.join("domains.txt")).trim().parse().expect("a domain");
    let (env, address) = (kms::os::env(), format!("127.0.0.1:{}", dev.port));
    let mut client = Client::connect(&env, &address, &ca, (&cert, &key), domain).await;

    let pair = PrivateKey::generate(&env, Shape::Rsa(2048)).expect("made");
    let mut jwk = serde_json::to_value(Jwk::of_private(&pair)).expect("JSON");
    let member = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().expect("text")).expect("base64url");
    let primes = [member("p"), member("q")];
    jwk["key_ops"] = json!(["sign", "verify"]);
    let count = || copies(dev.child.id(), &primes);
    match count() {
        Ok(found) => assert_eq!(found, 0, "nobody has it yet"),
        Err(error) => {
            return eprintln!("not exercised: the memory of a process cannot be read here: {error}");
        }
    }
    let made = client.call("POST", "/v1/servicekey?format=jwk", json!({"name": "key", "keys": [jwk]})).await;
    let path = format!("/v1/servicekey/{}", made.is(201)["id"].as_str().expect("an id"));
    for algorithm in ["RS256", "PS256"] {
        let body = json!({"message": STANDARD.encode("message"), "alg": algorithm});
        client.call("POST", &format!("{path}/sign"), body).await.is(200);
    }
    assert!(count().expect("read") > 0, "a key that is in use is kept, and found");

    client.call("POST", &format!("{path}/deactivate"), json!({"reason": "unspecified"})).await.is(204);
    client.delete(&path).await.is(204);
    // Copies on the stacks of threads go when these do something else.
    for _ in 0..50 {
        client.get("/v1/servicekey").await.is(200);
        if count().expect("read") == 0 {
            return;
        }
        env.sleep(Duration::from_millis(100)).await;
    }
    panic!("{} copies of its primes are left", count().expect("read"));
}
