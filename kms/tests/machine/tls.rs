//! Who gets through mutual TLS between nodes, and who does not.

use crate::common::{bundle, file, spec};
use kms::{
    config::Zone,
    env::{Env, Stream},
    init::{Bundle, FileSpec},
    os,
    wire::tls::{Expected, NodePem, NodeTls, Peer, PeerRole},
};
use std::{io, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HANDSHAKE: Duration = Duration::from_millis(500);

fn tls(env: &Env, files: &[FileSpec], stem: &str, ca: &Bundle) -> Arc<NodeTls> {
    let pem = NodePem {
        cert: file(files, &format!("{stem}.crt")),
        key: file(files, &format!("{stem}.key")),
        node_ca: ca.ca_pem.as_bytes(),
    };
    NodeTls::from_pem(env, &pem, HANDSHAKE).expect("valid certificates")
}

fn node(env: &Env, bundle: &Bundle, node_id: &str) -> Arc<NodeTls> {
    tls(env, &bundle.node(node_id).expect("a node").files, "node", bundle)
}

/// One byte each way, so that both ends have judged the other.
async fn meet(
    client: Arc<NodeTls>,
    server: Arc<NodeTls>,
    expect: Expected,
) -> (io::Result<Peer>, io::Result<Peer>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let accept = async move {
        let (mut stream, peer) = server.accept(Box::new(far) as Stream).await?;
        stream.write_all(b"!").await?;
        let _ = stream.read(&mut [0]).await;
        Ok(peer)
    };
    let connect = async move {
        let (mut stream, peer) = client.connect(Box::new(near) as Stream, &expect).await?;
        stream.read_exact(&mut [0]).await?;
        Ok(peer)
    };
    futures_util::future::join(connect, accept).await
}

const DATABASE_B: Expected = Expected { role: PeerRole::Database, zone: Some(Zone::B) };

#[tokio::test]
async fn nodes_of_a_region_know_each_other() {
    let env = os::env();
    let region = bundle(&env, &spec());
    let (seen, by) = meet(node(&env, &region, "host-a1"), node(&env, &region, "db-b"), DATABASE_B).await;
    assert_eq!(seen.expect("connects").node_id, "db-b");
    let by = by.expect("accepts");
    assert_eq!((by.role, by.zone, by.node_id.as_str()), (PeerRole::Host, Some(Zone::A), "host-a1"));
    let operator = tls(&env, &region.operator, "operator", &region);
    let (_, by) = meet(operator, node(&env, &region, "db-b"), DATABASE_B).await;
    assert_eq!(by.expect("Ed25519 is fine").role, PeerRole::Operator);
}

#[tokio::test]
async fn the_wrong_role_or_zone_is_refused() {
    let env = os::env();
    let region = bundle(&env, &spec());
    for wrong in ["db-a", "host-b1"] {
        let (seen, _) = meet(node(&env, &region, "host-a1"), node(&env, &region, wrong), DATABASE_B).await;
        let error = seen.expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("expected a database of zone b"), "{error}");
    }
}

#[tokio::test]
async fn another_ca_is_refused_by_both_ends() {
    let env = os::env();
    let [ours, theirs] = [(); 2].map(|()| bundle(&env, &spec()));
    let (seen, by) = meet(node(&env, &ours, "host-a1"), node(&env, &theirs, "db-b"), DATABASE_B).await;
    let error = seen.expect_err("the client refuses");
    assert!(error.to_string().contains("not signed by the node CA"), "{error}");
    assert!(by.is_err());
    // A client of another CA that believes the server: the server refuses.
    let files = &theirs.node("host-a1").expect("a node").files;
    let (seen, by) = meet(tls(&env, files, "node", &ours), node(&env, &ours, "db-b"), DATABASE_B).await;
    let error = by.expect_err("the server refuses");
    assert!(error.to_string().contains("not signed by the node CA"), "{error}");
    assert!(seen.is_err(), "the client sees the alert");
}

#[tokio::test]
async fn another_region_is_refused_even_below_the_same_ca() {
    let env = os::env();
    let ours = bundle(&env, &spec());
    let other = bundle(&env, &kms::init::RegionSpec { region: "eu-west-sbg".to_owned(), ..spec() });
    // Both ends trust both CAs, as after a careless copy.
    let both = [ours.ca_pem.as_bytes(), other.ca_pem.as_bytes()].concat();
    let careless = |bundle: &Bundle, node_id: &str| {
        let files = &bundle.node(node_id).expect("a node").files;
        let pem = NodePem { cert: file(files, "node.crt"), key: file(files, "node.key"), node_ca: &both };
        NodeTls::from_pem(&env, &pem, HANDSHAKE).expect("valid certificates")
    };
    let (seen, by) = meet(careless(&other, "host-a1"), careless(&ours, "db-b"), DATABASE_B).await;
    let error = seen.expect_err("refused");
    assert!(error.to_string().contains("region eu-west-rbx"), "{error}");
    assert!(by.is_err());
}

#[tokio::test]
async fn no_certificate_and_client_certificates_are_refused() {
    let env = os::env();
    let region = bundle(&env, &spec());
    let server = node(&env, &region, "db-b");
    let (near, far) = tokio::io::duplex(1 << 16);
    let client = node(&env, &region, "entry");
    let accept = server.accept(Box::new(far) as Stream);
    let connect = async {
        let (mut stream, _) = client.connect_public(Box::new(near) as Stream, &DATABASE_B).await?;
        stream.read_exact(&mut [0]).await
    };
    let (seen, by) = futures_util::future::join(connect, accept).await;
    assert!(by.is_err() && seen.is_err());
    let customer = &region.clients[0];
    let pem = NodePem {
        cert: customer.cert_pem.as_bytes(),
        key: customer.key_pem.as_bytes(),
        node_ca: region.ca_pem.as_bytes(),
    };
    let error = NodeTls::from_pem(&env, &pem, HANDSHAKE).expect_err("names no node");
    assert!(error.to_string().contains("kms://"), "{error}");
}

#[tokio::test]
async fn a_silent_peer_costs_no_more_than_the_handshake_bound() {
    let env = os::env();
    let region = bundle(&env, &spec());
    let (near, _far) = tokio::io::duplex(1 << 16);
    let error = node(&env, &region, "db-b").accept(Box::new(near) as Stream).await.err().expect("silence");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
