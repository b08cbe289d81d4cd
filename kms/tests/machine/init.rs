//! What `kms init` makes: files, permissions, repeatability; and what it refuses.

use crate::common::{Scratch, bundle, file, seeded, spec};
use kms::{
    config::{NodeConfig, Role, Zone},
    env::{StoreAt, StoreConfig},
    init::{Addresses, AdminAt, InitError, RegionSpec, install},
    operator::OperatorConfig,
    os,
    wire::{
        identity::{Peer, PeerRole},
        tls::NodeTls,
    },
};
use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path};
use x509_parser::prelude::*;

fn der(pem: &[u8]) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(pem).expect("PEM").1.contents
}

#[tokio::test]
async fn a_region_has_every_node_with_its_files() {
    let env = os::env();
    let bundle = bundle(&env, &spec());
    let names: Vec<&str> = bundle.nodes.iter().map(|node| node.node_id.as_str()).collect();
    assert_eq!(names, ["db-a", "db-b", "host-a1", "host-b1", "host-a2", "host-b2", "witness", "entry"]);
    let scratch = Scratch::new("init-files");
    for node in &bundle.nodes {
        let dir = scratch.path(&node.node_id);
        install(&*env.disk, &dir, node).expect("installs");
        let config = NodeConfig::load(&*env.disk, &dir.join("node.toml")).expect("a valid configuration");
        assert_eq!((config.role, config.zone), (node.role, node.zone));
        let tls = NodeTls::load(&env, &config).expect("valid certificates");
        assert_eq!(tls.identity().node_id, node.node_id);
        let mode =
            |name: &str| std::fs::metadata(dir.join(name)).map(|meta| meta.permissions().mode() & 0o777);
        assert_eq!(mode("node.key").expect("a key"), 0o600);
        assert_eq!(mode("root.key").is_ok(), node.role == Role::Host);
        assert_eq!(dir.join("access-ca.crt").exists(), node.role == Role::Host);
        let stored = env.disk.list(&dir.join("data/store")).expect("lists").len();
        assert_eq!(stored > 1, node.role == Role::Database, "a store beside the keyring");
        if node.role == Role::Host {
            assert_eq!(mode("root.key").expect("a root key"), 0o600);
        }
        if node.role == Role::Database {
            let sealed = env.disk.read(&dir.join("data/store/keyring").join(bundle.domains[0].to_string()));
            assert!(sealed.expect("readable").is_some());
        }
    }
    let (head, tail) = (bundle.nodes[0].genesis.clone(), bundle.nodes[1].genesis.clone());
    let (head, tail) = (head.expect("a genesis"), tail.expect("a genesis"));
    assert!(head.head && !tail.head && head.epoch == tail.epoch && head.activation == tail.activation);
    assert_eq!([head.db_id, tail.db_id], head.epoch.record.members);
}

#[tokio::test]
async fn hosts_are_administered_where_it_is_said_and_the_operator_knows_where() {
    let env = os::env();
    let nodes = ["db-a", "db-b", "host-a1", "host-b1", "host-a2", "host-b2", "witness", "entry"];
    let apart = |at| {
        let ips = (1..).zip(nodes).map(|(n, node)| (node.to_owned(), format!("10.0.0.{n}"))).collect();
        RegionSpec { addresses: Addresses::PerNode(ips), admin: at, ..spec() }
    };
    let listen = |spec: &RegionSpec| {
        let bundle = bundle(&env, spec);
        let text = |files: &[kms::init::FileSpec], name: &str| {
            String::from_utf8(file(files, name).to_vec()).expect("text")
        };
        let config =
            |node: &kms::init::NodeBundle| NodeConfig::parse(&text(&node.files, "node.toml")).expect("TOML");
        let listen: Vec<_> = bundle.nodes.iter().filter_map(|node| config(node).admin_listen).collect();
        assert!(
            bundle.nodes.iter().all(|node| config(node).admin_listen.is_none() || node.role == Role::Host)
        );
        let operator: OperatorConfig =
            toml::from_str(&text(&bundle.operator, "operator.toml")).expect("TOML");
        (listen, operator.admin)
    };
    let (hosts, operator) = listen(&apart(AdminAt::Node));
    assert_eq!(hosts, ["10.0.0.3:8445", "10.0.0.4:8445", "10.0.0.5:8445", "10.0.0.6:8445"]);
    assert_eq!(operator, hosts);
    let (hosts, operator) = listen(&apart(AdminAt::Loopback));
    assert_eq!((hosts.len(), operator), (4, vec!["127.0.0.1:8445".to_owned()]));
    assert!(hosts.iter().all(|host| host == "127.0.0.1:8445"));
    let (hosts, operator) = listen(&spec());
    assert_eq!(
        hosts,
        ["127.0.0.1:8452", "127.0.0.1:8453", "127.0.0.1:8454", "127.0.0.1:8455"],
        "after all nodes"
    );
    assert_eq!(operator, hosts);
}

#[tokio::test]
async fn a_replica_stands_in_another_region_and_in_a_documented_one() {
    let env = os::env();
    let of = |region: &str, place: &str| RegionSpec {
        region: region.to_owned(),
        replica: Some(place.to_owned()),
        ..spec()
    };
    for (region, place) in
        [("eu-west-rbx", "eu-west-sbg"), ("eu-west-sbg", "eu-west-gra"), ("ca-east-bhs", "eu-west-rbx")]
    {
        let bundle = bundle(&env, &of(region, place));
        let replica = bundle.node("replica").expect("a replica");
        let scratch = Scratch::new(&format!("init-{region}"));
        install(&*env.disk, &scratch.path("replica"), replica).expect("installs");
        let config = NodeConfig::load(&*env.disk, &scratch.path("replica").join("node.toml")).expect("valid");
        assert_eq!((config.role, config.place.as_deref()), (Role::Replica, Some(place)));
        assert!(env.disk.list(&scratch.path("replica/data")).expect("lists").is_empty(), "it makes itself");
    }
    for (region, place) in [
        ("eu-west-rbx", "eu-west-rbx"),
        ("eu-west-rbx", "ca-east-bhs"),
        ("eu-west-sbg", "eu-west-par"),
        ("eu-west-rbx", "SBG"),
    ] {
        let refused = kms::init::plan_region(&env, &of(region, place)).map(|_| ());
        assert!(matches!(refused, Err(InitError::Spec(_))), "{region} {place}");
    }
}

#[tokio::test]
async fn certificates_say_who_may_do_what() {
    let env = os::env();
    let bundle = bundle(&env, &spec());
    let host = bundle.node("host-a1").expect("a host");
    let leaf = der(file(&host.files, "node.crt"));
    let peer = Peer::from_certificate(&leaf).expect("a name");
    assert_eq!(peer.to_string(), "kms://eu-west-rbx/host/a/host-a1");
    assert_eq!((peer.role, peer.zone), (PeerRole::Host, Some(Zone::A)));
    let (_, certificate) = X509Certificate::from_der(&leaf).expect("parses");
    let names = certificate.subject_alternative_name().expect("valid").expect("present");
    let names: Vec<String> = names.value.general_names.iter().map(ToString::to_string).collect();
    assert!(names.iter().any(|name| name.contains("localhost")), "{names:?}");
    assert!(names.iter().any(|name| name.contains("IPAddress")), "{names:?}");
    let operator = Peer::from_certificate(&der(file(&bundle.operator, "operator.crt"))).expect("a name");
    assert_eq!(operator.role, PeerRole::Operator);

    let client = &bundle.clients[0];
    let leaf = der(client.cert_pem.as_bytes());
    let (_, certificate) = X509Certificate::from_der(&leaf).expect("parses");
    assert_eq!(certificate.raw_serial().len(), 16);
    let names = certificate.subject_alternative_name().expect("valid").expect("present");
    assert!(names.critical);
    let [GeneralName::OtherName(oid, value)] = &names.value.general_names[..] else {
        panic!("{:?}", names.value.general_names);
    };
    assert_eq!(oid.to_id_string(), "1.3.6.1.4.1.311.20.2.3");
    let text = format!("okms.domain:{}", client.domain);
    assert!(value.ends_with(text.as_bytes()), "{value:?}");
    assert_eq!(
        certificate.subject().iter_common_name().next().expect("a CN").as_str().expect("text"),
        client.domain.to_string()
    );
    let usage = certificate.extended_key_usage().expect("valid").expect("present").value;
    assert!(usage.client_auth && !usage.server_auth);
    let validity = certificate.validity();
    let life = (validity.not_after - validity.not_before).expect("a span");
    assert!(life.whole_days() <= 365);
}

#[tokio::test]
async fn the_same_draws_make_the_same_region() {
    let env = os::env();
    let [one, two, other] = [7, 7, 8].map(|seed| bundle(&seeded(&env, seed), &spec()));
    assert_eq!(one.domains, two.domains);
    assert_ne!(one.domains, other.domains);
    for (left, right) in one.nodes.iter().zip(&two.nodes) {
        // The operator's key, and so its signatures, come from *ring*, not from the draws.
        let drawn = |node: &kms::init::NodeBundle| {
            node.genesis.as_ref().map(|identity| (identity.db_id, identity.epoch.record))
        };
        assert_eq!(drawn(left), drawn(right));
        assert_eq!(left.keyring, right.keyring);
        for (a, b) in left.files.iter().zip(&right.files) {
            assert_eq!(a.path, b.path);
            if !matches!(a.path.extension().and_then(|end| end.to_str()), Some("crt" | "key"))
                || a.path == Path::new("root.key")
            {
                assert_eq!(a, b);
            }
        }
    }
    let root = |bundle: &kms::init::Bundle| {
        file(&bundle.node("host-a1").expect("a host").files, "root.key").to_vec()
    };
    assert_ne!(root(&one), root(&other));
    let text = String::from_utf8(root(&one)).expect("text");
    assert!(text.starts_with("okms-root-key-v1 ") && text.ends_with("=\n"), "unexpected form");
    assert!(!format!("{:?}", one.node("host-a1").expect("a host").files).contains(text.trim()));
}

#[tokio::test]
async fn what_is_there_is_never_overwritten() {
    let env = os::env();
    let scratch = Scratch::new("init-twice");
    let [one, two] = [1, 2].map(|seed| bundle(&seeded(&env, seed), &spec()));
    let dir = scratch.path("db-a");
    install(&*env.disk, &dir, &one.nodes[0]).expect("installs");
    let before = std::fs::metadata(dir.join("node.key")).expect("there").modified().expect("a time");
    assert!(matches!(install(&*env.disk, &dir, &two.nodes[0]), Err(InitError::Exists(_))));
    assert_eq!(std::fs::metadata(dir.join("node.key")).expect("there").modified().expect("a time"), before);
    // A store without its configuration is still a store.
    let dir = scratch.path("stray");
    env.disk.create_dir(&dir.join("data")).expect("creates");
    env.disk.write_atomic(&dir.join("data/store"), b"x", false).expect("writes");
    assert!(matches!(install(&*env.disk, &dir, &one.nodes[0]), Err(InitError::Exists(_))));
}

#[tokio::test]
async fn a_replica_is_told_where_backups_go() {
    let env = os::env();
    let store = |region: &str, path: &str| StoreConfig {
        region: region.to_owned(),
        at: StoreAt::Directory(path.into()),
    };
    let stores = [store("eu-west-sbg", "/mnt/sbg"), store("eu-west-gra", "../gra")];
    let with =
        RegionSpec { replica: Some("eu-west-sbg".to_owned()), backups: Some(stores.clone()), ..spec() };
    let bundle = bundle(&env, &with);
    let scratch = Scratch::new("init-backups");
    for node in &bundle.nodes {
        install(&*env.disk, &scratch.path(&node.node_id), node).expect("installs");
        let made = env.disk.read(&scratch.path(&node.node_id).join("backup.key")).expect("readable");
        assert_eq!(made.is_some(), node.role == Role::Replica);
    }
    let path = scratch.path("replica").join("node.toml");
    let config = NodeConfig::load(&*env.disk, &path).expect("valid");
    let key = config.backup_key.expect("named");
    let mode = std::fs::metadata(&key).expect("written").permissions().mode() & 0o777;
    assert_eq!((mode, key), (0o600, scratch.path("replica/backup.key")));
    let gra = scratch.path("replica/../gra");
    assert_eq!(
        config.backups,
        [stores[0].clone(), StoreConfig { at: StoreAt::Directory(gra), ..stores[1].clone() }]
    );
    let in_replica = &bundle.node("replica").expect("a replica").files;
    assert_eq!(file(&bundle.operator, "backup.key"), file(in_replica, "backup.key"));

    // What is written by hand is checked too.
    let text = String::from_utf8(file(in_replica, "node.toml").to_vec()).expect("text");
    let loads = |text: &str| {
        env.disk.write_atomic(&path, text.as_bytes(), false).expect("written");
        NodeConfig::load(&*env.disk, &path).map(|_| ()).map_err(|error| error.to_string())
    };
    let refused = |text: &str| loads(text).expect_err("refused");
    assert!(refused(&text.replace("eu-west-gra", "eu-west-rbx")).contains("eu-west-rbx itself"));
    assert!(refused(&text.replace("backup_key = \"backup.key\"\n", "")).contains("backup_key"));
    let s3 = "at.s3 = { endpoint = \"https://s3.gra.io.cloud.ovh.net\", bucket = \"b\", region = \"gra\", \
              key_id = \"k\", secret_file = \"s3.secret\", ca = \"ca.pem\" }";
    let (head, told) = text.split_at(text.find("[[backups]]").expect("stores"));
    let limits = &told[told.find("[limits]").expect("limits")..];
    let bucket = format!(
        "{head}[[backups]]\nregion = \"eu-west-sbg\"\nat.directory = \"d\"\n[[backups]]\nregion = \"eu-west-gra\"\n{s3}\n{limits}"
    );
    assert_eq!(loads(&bucket), Ok(()));
    let config = NodeConfig::load(&*env.disk, &path).expect("valid");
    let StoreAt::S3(s3) = &config.backups[1].at else { panic!("a bucket") };
    assert_eq!(s3.secret_file, scratch.path("replica/s3.secret"));
    assert_eq!(s3.ca, Some(scratch.path("replica/ca.pem")));
    assert!(refused(&bucket.replace("240000", "999")).contains("backup_interval_ms"));
    let database = file(&bundle.node("db-a").expect("a head").files, "node.toml").to_vec();
    let database = String::from_utf8(database).expect("text");
    assert!(refused(&format!("backup_key = \"backup.key\"\n{database}")).contains("not for a database"));

    let spec =
        |stores: [&StoreConfig; 2]| RegionSpec { backups: Some(stores.map(Clone::clone)), ..with.clone() };
    let plan = |spec: &RegionSpec| kms::init::plan_region(&env, spec).map(|_| ());
    for bad in [
        spec([&stores[0], &stores[0]]),
        spec([&stores[0], &store("eu-west-rbx", "x")]),
        spec([&stores[0], &store("SBG", "x")]),
        RegionSpec { replica: None, ..with.clone() },
    ] {
        assert!(matches!(plan(&bad), Err(InitError::Spec(_))));
    }
}

#[tokio::test]
async fn a_specification_without_sense_is_refused() {
    let env = os::env();
    let refused = |change: &dyn Fn(&mut kms::init::RegionSpec)| {
        let mut spec = spec();
        change(&mut spec);
        match kms::init::plan_region(&env, &spec) {
            Err(InitError::Spec(text)) => text,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("accepted"),
        }
    };
    assert!(refused(&|spec| spec.region = "RBX/1".to_owned()).contains("region"));
    assert!(refused(&|spec| spec.hosts_per_zone = 0).contains("hosts per zone"));
    assert!(refused(&|spec| spec.domains = 0).contains("domains"));
    assert!(refused(&|spec| spec.names = vec!["not a name".to_owned()]).contains("not a name"));
    assert!(refused(&|spec| spec.limits.ping_ms = 0).contains("ping_ms"));
    let ports = |spec: &mut kms::init::RegionSpec| {
        spec.addresses = Addresses::Loopback { rest_port: 8445, node_port: 8444 };
    };
    assert!(refused(&ports).contains("port"));
    let one_missing = |spec: &mut kms::init::RegionSpec| {
        spec.addresses = Addresses::PerNode(BTreeMap::from([("db-a".to_owned(), "10.0.0.1".to_owned())]));
    };
    assert!(refused(&one_missing).contains("no address for db-b"));
    let stranger = |spec: &mut kms::init::RegionSpec| {
        spec.addresses = Addresses::PerNode(BTreeMap::from([("db-c".to_owned(), "10.0.0.1".to_owned())]));
    };
    assert!(refused(&stranger).contains("no node db-c"));
}
