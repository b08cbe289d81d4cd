//! Secrets as clients meet them: a host over two real databases, real sockets and certificates. Both views - the native one and that of
//! Vault's clients - on the same secrets.

use crate::{region::Region, rest::Client};
use kms::{
    api::rest::{RestServer, serve},
    config::NodeConfig,
    init::{ClientIdentity, NODE_FILE},
    store::{api::RecordStore, server::DatabaseNode, witness::WitnessNode},
    vault::RootSource,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// A region with one host that serves.
struct Service {
    region: Region,
    _nodes: (WitnessNode, DatabaseNode, DatabaseNode),
    server: RestServer,
    identity: ClientIdentity,
    ca_pem: String,
}

impl Service {
    async fn start(name: &str) -> Service {
        let mut kept = None;
        let region = Region::altered(name, |bundle| {
            kept = Some((bundle.clients.remove(0), bundle.ca_pem.clone()));
        });
        let (identity, ca_pem) = kept.expect("a client");
        let nodes = region.begin_work().await;
        let disk = &*region.env.disk;
        let dir = region.scratch.path("host-a1");
        let mut config = NodeConfig::load(disk, &dir.join(NODE_FILE)).expect("config");
        config.rest_listen = Some("127.0.0.1:0".to_owned());
        let root = RootSource::open(Arc::clone(&region.env.disk), &config).expect("a root key");
        let store = region.client("host-a1");
        region.until_writable(&store).await;
        let store: Arc<dyn RecordStore> = store;
        let server = serve(region.env.clone(), &config, store, root).await.expect("serves");
        Service { region, _nodes: nodes, server, identity, ca_pem }
    }

    async fn client(&self) -> Client {
        let pair = (self.identity.cert_pem.as_str(), self.identity.key_pem.as_str());
        let address = self.server.address();
        Client::connect(&self.region.env, address, &self.ca_pem, pair, self.identity.domain).await
    }
}

async fn create(client: &mut Client, path: &str, data: Value) {
    let body = json!({"path": path, "version": {"data": data}, "metadata": {"customMetadata": {}}});
    client.call("POST", "/v2/secret", body).await.is(200);
}

#[tokio::test]
async fn the_native_view() {
    let service = Service::start("secrets-v2").await;
    let mut client = service.client().await;
    let body = json!({"path": "foo/bar", "version": {"data": {"user": "u", "n": 1}},
        "metadata": {"customMetadata": {"owner": "me"}, "deactivateVersionAfter": "1d"}});
    let made = client.call("POST", "/v2/secret", body.clone()).await.is(200);
    assert_eq!(made["path"], "foo/bar");
    let metadata = &made["metadata"];
    assert_eq!((&metadata["currentVersion"], &metadata["oldestVersion"]), (&json!(1), &json!(0)));
    assert_eq!((&metadata["maxVersions"], &metadata["casRequired"]), (&json!(10), &json!(false)));
    assert_eq!(metadata["deactivateVersionAfter"], "1d");
    assert_eq!(metadata["customMetadata"], json!({"owner": "me"}));
    assert!(metadata["urn"].as_str().expect("text").ends_with("/secret/foo/bar"));
    assert_eq!(metadata["createdAt"].as_str().map(str::len), Some(20));
    let again = client.call("POST", "/v2/secret", body).await;
    assert_eq!((again.status, &again.body["error_code"]), (409, &json!(50_438_145)));

    for path in ["/v2/secret/foo/bar", "/v2/secret/foo%2Fbar"] {
        let read = client.get(path).await.is(200);
        assert_eq!((&read["version"]["id"], &read["version"]["state"]), (&json!(1), &json!("active")));
        assert!(read["version"]["data"].is_null(), "only who asks for data gets data");
        let read = client.get(&format!("{path}?includeData=true")).await.is(200);
        assert_eq!(read["version"]["data"], json!({"user": "u", "n": 1}));
    }

    let put = json!({"version": {"data": {"user": "v"}}});
    let path = "/v2/secret/foo%2Fbar";
    let wrong = client.call("PUT", &format!("{path}?cas=7"), put.clone()).await;
    assert_eq!((wrong.status, &wrong.body["error_id"]), (400, &json!("check_and_set_mismatch")));
    let put = client.call("PUT", &format!("{path}?cas=1"), put).await.is(200);
    assert_eq!(put["metadata"]["currentVersion"], 2);
    let kept = json!({"metadata": {"casRequired": true, "maxVersions": 3}});
    let kept = client.call("PUT", path, kept).await.is(200);
    assert_eq!(
        (&kept["metadata"]["currentVersion"], &kept["metadata"]["maxVersions"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(kept["metadata"]["customMetadata"], json!({"owner": "me"}), "what is not given stays");
    let versions = format!("{path}/version");
    let none = client.call("POST", &versions, json!({"data": {}})).await;
    assert_eq!((none.status, &none.body["error_id"]), (400, &json!("check_and_set_required")));
    for n in 2..6 {
        let made =
            client.call("POST", &format!("{versions}?cas={n}"), json!({"data": {"n": n}})).await.is(200);
        assert_eq!((&made["id"], &made["state"]), (&json!(n + 1), &json!("active")));
    }
    let read = client.get(path).await.is(200);
    assert_eq!(
        (&read["metadata"]["currentVersion"], &read["metadata"]["oldestVersion"]),
        (&json!(6), &json!(4))
    );
    assert_eq!(client.get(&format!("{path}?version=3&includeData=true")).await.status, 404);
    let listed = client.get(&versions).await.is(200);
    let ids: Vec<_> =
        listed.as_array().expect("a list").iter().map(|version| version["id"].clone()).collect();
    assert_eq!(ids, [4, 5, 6]);

    let version = format!("{versions}/5");
    let state = |word: &str| json!({ "state": word });
    let off = client.call("PUT", &version, state("deactivated")).await.is(200);
    assert!(off["state"] == "deactivated" && off["deactivatedAt"].is_string(), "{off}");
    let read = client.get(&format!("{version}?includeData=true")).await.is(200);
    assert!(read["data"].is_null() && read["state"] == "deactivated", "{read}");
    assert_eq!(client.call("PUT", &version, state("active")).await.is(200)["state"], "active");
    let read = client.get(&format!("{version}?includeData=true")).await.is(200);
    assert_eq!(read["data"], json!({"n": 4}));
    assert_eq!(client.call("PUT", &version, state("deleted")).await.is(200)["state"], "deleted");
    assert_eq!(client.call("PUT", &version, state("deleted")).await.status, 200);
    let back = client.call("PUT", &version, state("active")).await;
    assert_eq!((back.status, &back.body["error_id"]), (409, &json!("secret_version_deleted")));
    assert_eq!(client.call("PUT", &format!("{versions}/9"), state("active")).await.status, 404);

    assert_eq!(client.delete(path).await.status, 204);
    let missing = client.get(path).await;
    assert_eq!((missing.status, &missing.body["error_code"]), (404, &json!(17_125_377)));
    assert_eq!(client.delete(path).await.status, 404);
    create(&mut client, "foo/bar", json!({"new": true})).await;
    let read = client.get(&format!("{path}?includeData=true")).await.is(200);
    assert_eq!((&read["version"]["id"], &read["version"]["data"]), (&json!(1), &json!({"new": true})));
}

#[tokio::test]
async fn the_view_of_vault_clients() {
    let service = Service::start("secrets-v1").await;
    let mut client = service.client().await;
    let data = "/v1/secret/data/app/db";
    let made = client.call("POST", data, json!({"data": {"a": "1"}, "options": {"cas": 0}})).await.is(200);
    assert_eq!((&made["data"]["version"], &made["data"]["destroyed"]), (&json!(1), &json!(false)));
    assert!(made["data"]["deletion_time"] == "" && made["request_id"].is_string());
    let again = client.call("POST", data, json!({"data": {}, "options": {"cas": 0}})).await;
    let said = &again.body["errors"][0];
    assert_eq!(
        (again.status, said),
        (400, &json!("check-and-set parameter did not match the current version"))
    );
    // As Vault's own client sends it.
    let raw = br#"{"data":{"a":"2","b":{"c":1,"d":2}},"options":{}}"#;
    let put = client.send("PUT", data, &[("x-vault-token", "t")], raw.to_vec()).await.is(200);
    assert_eq!(put["data"]["version"], 2);
    let read = client.get(data).await.is(200);
    assert_eq!(read["data"]["data"], json!({"a": "2", "b": {"c": 1, "d": 2}}));
    assert_eq!(read["data"]["metadata"]["version"], 2);
    assert_eq!(client.get(&format!("{data}?version=1")).await.is(200)["data"]["data"], json!({"a": "1"}));
    assert_eq!(client.get(&format!("{data}?version=3")).await.status, 404);

    let patch = br#"{"data":{"a":null,"b":{"c":7}},"options":{"cas":2}}"#.to_vec();
    let merge = [("content-type", "application/merge-patch+json")];
    assert_eq!(client.send("PATCH", data, &merge, patch.clone()).await.is(200)["data"]["version"], 3);
    assert_eq!(client.send("PATCH", data, &merge, patch).await.status, 400);
    let patched = client.call("PATCH", data, json!({"data": {"e": []}})).await.is(200);
    assert_eq!(patched["data"]["version"], 4);
    assert_eq!(client.get(data).await.is(200)["data"]["data"], json!({"b": {"c": 7, "d": 2}, "e": []}));
    let keys = client.get("/v1/secret/subkeys/app/db").await.is(200);
    assert_eq!(keys["data"]["subkeys"], json!({"b": {"c": null, "d": null}, "e": null}));
    let keys = client.get("/v1/secret/subkeys/app%2Fdb?depth=1&version=2").await.is(200);
    assert_eq!(keys["data"]["subkeys"], json!({"a": null, "b": null}));

    assert_eq!(client.delete(data).await.status, 204);
    let gone = client.get(data).await.is(404);
    assert!(gone["data"]["data"].is_null() && gone["data"]["metadata"]["version"] == 4, "{gone}");
    assert_ne!(gone["data"]["metadata"]["deletion_time"], "");
    let gone = client.call("PATCH", data, json!({"data": {}})).await.is(404);
    assert_eq!(gone["data"]["version"], 4);
    let versions = |numbers: &[u32]| json!({ "versions": numbers });
    assert_eq!(client.call("POST", "/v1/secret/undelete/app/db", versions(&[4])).await.status, 204);
    assert_eq!(client.get(data).await.status, 200);
    assert_eq!(client.call("POST", "/v1/secret/delete/app/db", versions(&[1, 2, 77])).await.status, 204);
    assert_eq!(client.get(&format!("{data}?version=2")).await.status, 404);
    assert_eq!(client.call("PUT", "/v1/secret/destroy/app/db", versions(&[1])).await.status, 204);
    assert_eq!(client.call("POST", "/v1/secret/undelete/app%2Fdb", versions(&[1, 2])).await.status, 204);
    assert_eq!(client.get(&format!("{data}?version=2")).await.status, 200);
    let destroyed = client.get(&format!("{data}?version=1")).await.is(404);
    assert_eq!(destroyed["data"]["metadata"]["destroyed"], true);

    let metadata = "/v1/secret/metadata/app/db";
    let seen = client.get(metadata).await.is(200);
    assert_eq!(
        (&seen["data"]["current_version"], &seen["data"]["delete_version_after"]),
        (&json!(4), &json!("0s"))
    );
    assert_eq!(seen["data"]["versions"]["1"]["destroyed"], true);
    assert_eq!(seen["data"]["versions"].as_object().map(|map| map.len()), Some(4));
    let set =
        json!({"custom_metadata": {"k": "v", "l": "w"}, "max_versions": 2, "delete_version_after": "3h"});
    assert_eq!(client.call("POST", metadata, set).await.status, 204);
    let patch = br#"{"custom_metadata":{"k":null,"m":"x"},"delete_version_after":null}"#.to_vec();
    assert_eq!(client.send("PATCH", metadata, &merge, patch).await.status, 204);
    // Who does not ask for a merge sends null for what he was not given.
    let patch = json!({"custom_metadata": {"n": null}, "max_versions": null, "cas_required": null});
    assert_eq!(client.call("PATCH", metadata, patch).await.status, 204);
    assert_eq!(client.call("PATCH", metadata, json!({"custom_metadata": null})).await.status, 204);
    let seen = client.get(metadata).await.is(200);
    assert_eq!(seen["data"]["custom_metadata"], json!({"l": "w", "m": "x"}));
    assert_eq!(
        (&seen["data"]["max_versions"], &seen["data"]["delete_version_after"]),
        (&json!(2), &json!("0s"))
    );
    assert_eq!(
        client.call("POST", "/v1/secret/metadata/empty", json!({"max_versions": 3})).await.status,
        204
    );
    assert_eq!(client.get("/v1/secret/metadata/empty").await.is(200)["data"]["current_version"], 0);
    assert_eq!(client.get("/v1/secret/data/empty").await.status, 404);
    assert_eq!(client.call("PATCH", "/v1/secret/metadata/none", json!({})).await.status, 404);
    assert_eq!(client.delete(metadata).await.status, 204);
    assert_eq!(client.get(data).await.status, 404);
}

#[tokio::test]
async fn both_views_are_of_the_same_secrets() {
    let service = Service::start("secrets-both").await;
    let mut client = service.client().await;
    client.call("POST", "/v1/secret/data/a/b", json!({"data": {"x": 1}})).await.is(200);
    let read = client.get("/v2/secret/a/b?includeData=true").await.is(200);
    assert_eq!(read["version"]["data"], json!({"x": 1}));
    create(&mut client, "c", json!({"y": 2})).await;
    assert_eq!(client.get("/v1/secret/data/c").await.is(200)["data"]["data"], json!({"y": 2}));
    client.delete("/v1/secret/data/c").await;
    assert_eq!(client.get("/v2/secret/c").await.is(200)["version"]["state"], "deactivated");
    client.call("PUT", "/v2/secret/c/version/1", json!({"state": "active"})).await.is(200);
    assert_eq!(client.get("/v1/secret/data/c").await.status, 200);

    // A secret whose own path ends like a version's.
    create(&mut client, "c/version", json!({"z": 3})).await;
    assert!(client.get("/v2/secret/c/version").await.is(200).is_array());
    assert_eq!(client.get("/v2/secret/c%2Fversion").await.is(200)["path"], "c/version");

    // The configuration of the domain.
    let config = client.get("/v2/secretConfig").await.is(200);
    assert_eq!(config, json!({"casRequired": false, "maxVersions": 10}));
    let set = json!({"casRequired": true, "maxVersions": 2, "deactivateVersionAfter": "1s"});
    assert_eq!(client.call("PUT", "/v2/secretConfig", set.clone()).await.is(200), set);
    let config = client.get("/v1/secret/config").await.is(200);
    assert_eq!(
        config["data"],
        json!({"cas_required": true, "max_versions": 2, "delete_version_after": "1s"})
    );
    assert_eq!(client.call("POST", "/v1/secret/data/c", json!({"data": {}})).await.status, 400);
    client.call("POST", "/v1/secret/data/c", json!({"data": {"q": 1}, "options": {"cas": 1}})).await.is(200);
    service.region.env.sleep(std::time::Duration::from_millis(2_100)).await;
    assert_eq!(client.get("/v1/secret/data/c").await.status, 404, "its time has come");
    assert_eq!(client.get("/v2/secret/c").await.is(200)["version"]["state"], "deactivated");
    assert_eq!(client.get("/v1/secret/data/c?version=1").await.status, 200, "made before the setting");
    let off = json!({"cas_required": false, "delete_version_after": "0s"});
    assert_eq!(client.call("POST", "/v1/secret/config", off).await.status, 204);
    client.call("POST", "/v1/secret/data/c", json!({"data": {}})).await.is(200);
    assert_eq!(client.get("/v2/secret/c").await.is(200)["metadata"]["oldestVersion"], 2);
}

#[tokio::test]
async fn lists_in_pages_and_folders() {
    let service = Service::start("secrets-lists").await;
    let mut client = service.client().await;
    let mut made = BTreeSet::new();
    for n in 0..23 {
        let path = format!("dir{}/s{n:02}", n % 2);
        create(&mut client, &path, json!({})).await;
        made.insert(path);
    }
    create(&mut client, "top", json!({})).await;
    create(&mut client, "dir0", json!({})).await;
    client.delete("/v2/secret/dir1%2Fs01").await;
    made.remove("dir1/s01");
    made.extend(["top".to_owned(), "dir0".to_owned()]);
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let headers = [("x-pagination-size", "10"), ("x-pagination-cursor", cursor.as_str())];
        let page = client.send("GET", "/v2/secret", &headers, Vec::new()).await;
        let next = page.next();
        let body = page.is(200);
        seen.extend(
            body.as_array()
                .expect("a list")
                .iter()
                .map(|secret| secret["path"].as_str().expect("a path").to_owned()),
        );
        pages += 1;
        match next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    assert_eq!((pages, seen.len()), (3, made.len()));
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), made);

    let root = client.get("/v1/secret/metadata").await.is(200);
    assert_eq!(root["data"]["keys"], json!(["dir0", "dir0/", "dir1/", "top"]));
    for folder in ["/v1/secret/metadata/", "/v1/secret/metadata"] {
        assert_eq!(client.send("LIST", folder, &[], Vec::new()).await.is(200)["data"], root["data"]);
    }
    for folder in ["/v1/secret/metadata/dir1", "/v1/secret/metadata/dir1/"] {
        let keys = client.send("LIST", folder, &[], Vec::new()).await.is(200);
        assert_eq!(keys["data"]["keys"].as_array().map(Vec::len), Some(10));
        assert_eq!(client.get(&format!("{folder}?list=true")).await.is(200)["data"], keys["data"]);
    }
    let headers = [("x-pagination-size", "10")];
    let first = client.send("LIST", "/v1/secret/metadata/dir0", &headers, Vec::new()).await;
    let next = first.next().expect("more");
    assert_eq!(first.is(200)["data"]["keys"][0], "s00");
    let headers = [("x-pagination-size", "10"), ("x-pagination-cursor", next.as_str())];
    let second = client.send("LIST", "/v1/secret/metadata/dir0", &headers, Vec::new()).await;
    assert!(second.next().is_none());
    assert_eq!(second.is(200)["data"]["keys"], json!(["s20", "s22"]));
    assert_eq!(client.send("GET", "/v2/secret", &headers, Vec::new()).await.status, 400, "of another list");
    assert_eq!(client.send("LIST", "/v1/secret/metadata/nothing", &[], Vec::new()).await.status, 404);
    assert_eq!(client.send("GET", "/v2/secret", &[("x-pagination-size", "9")], Vec::new()).await.status, 400);

    for n in 0..12 {
        client.call("POST", "/v2/secret/top/version", json!({"data": {"n": n}})).await.is(200);
    }
    let page = client.send("GET", "/v2/secret/top/version", &[("x-pagination-size", "10")], Vec::new()).await;
    assert!(page.next().is_none(), "ten are kept");
    assert_eq!(page.is(200)[0]["id"], 4);
}

#[tokio::test]
async fn many_versions_go_in_steps() {
    let service = Service::start("secrets-many").await;
    let mut client = service.client().await;
    let body = json!({"path": "many", "version": {"data": {}}, "metadata": {"maxVersions": 24_000}});
    client.call("POST", "/v2/secret", body).await.is(200);
    for n in 1..60 {
        client
            .call("POST", &format!("/v2/secret/many/version?cas={n}"), json!({"data": {"n": n}}))
            .await
            .is(200);
    }
    let numbers: Vec<u32> = (1..=30).collect();
    assert_eq!(client.call("PUT", "/v1/secret/destroy/many", json!({"versions": numbers})).await.status, 204);
    assert_eq!(client.get("/v2/secret/many/version/30").await.is(200)["state"], "deleted");
    client
        .call("PUT", "/v2/secret/many", json!({"metadata": {"maxVersions": 1}, "version": {"data": {}}}))
        .await
        .is(200);
    let read = client.get("/v2/secret/many").await.is(200);
    assert_eq!(
        (&read["metadata"]["currentVersion"], &read["metadata"]["oldestVersion"]),
        (&json!(61), &json!(61))
    );
    client.call("PUT", "/v2/secret/many", json!({"metadata": {"maxVersions": 100}})).await.is(200);
    for n in 61..120 {
        client
            .call("POST", &format!("/v2/secret/many/version?cas={n}"), json!({"data": {"n": n}}))
            .await
            .is(200);
    }
    assert_eq!(client.delete("/v2/secret/many").await.status, 204);
    create(&mut client, "many", json!({})).await;
    assert_eq!(client.get("/v2/secret/many").await.is(200)["metadata"]["currentVersion"], 1);

    // Writers in each other's way: each version is written once, whoever wins.
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(service.client().await);
    }
    let writers = clients.into_iter().map(|mut client| async move {
        let mut won = 0;
        for _ in 0..10 {
            let current = client.get("/v2/secret/many").await.is(200)["metadata"]["currentVersion"].clone();
            let path = format!("/v2/secret/many/version?cas={current}");
            let status = client.call("POST", &path, json!({"data": {}})).await.status;
            assert!(matches!(status, 200 | 400), "{status}");
            won += u32::from(status == 200);
        }
        won
    });
    let won: u32 = futures_util::future::join_all(writers).await.into_iter().sum();
    assert_eq!(client.get("/v2/secret/many").await.is(200)["metadata"]["currentVersion"], json!(won + 1));
}

#[tokio::test]
async fn wrong_input_gets_its_error() {
    let service = Service::start("secrets-wrong").await;
    let mut client = service.client().await;
    create(&mut client, "a", json!({"k": "v"})).await;
    let long = "p".repeat(256);
    let large = json!({"path": "b", "version": {"data": {"k": "v".repeat(65_536)}}});
    let many: serde_json::Map<_, _> = (0..65).map(|n| (format!("k{n}"), json!("v"))).collect();
    let with = |metadata: Value| json!({"path": "b", "version": {"data": {}}, "metadata": metadata});
    let data = |data: Value| json!({ "data": data });
    let cases = [
        ("POST", "/v2/secret".to_owned(), json!({"path": "", "version": {"data": {}}}), 400),
        ("POST", "/v2/secret".to_owned(), json!({"path": long, "version": {"data": {}}}), 400),
        ("POST", "/v2/secret".to_owned(), json!({"path": "a b", "version": {"data": {}}}), 400),
        ("POST", "/v2/secret".to_owned(), json!({"path": "/a", "version": {"data": {}}}), 400),
        ("POST", "/v2/secret".to_owned(), json!({"path": "b", "version": {"data": []}}), 400),
        ("POST", "/v2/secret".to_owned(), json!({"path": "b", "version": {"data": null}}), 400),
        ("POST", "/v2/secret".to_owned(), json!({"path": "b", "version": {}, "more": 1}), 400),
        ("POST", "/v2/secret".to_owned(), json!({"path": "b"}), 400),
        ("POST", "/v2/secret".to_owned(), large, 400),
        (
            "POST",
            "/v2/secret".to_owned(),
            json!({"path": "b", "version": {"data": {"k": "v".repeat(170_000)}}}),
            413,
        ),
        ("POST", "/v2/secret".to_owned(), with(json!({"maxVersions": 24_001})), 400),
        ("POST", "/v2/secret".to_owned(), with(json!({"maxVersions": -1})), 400),
        ("POST", "/v2/secret".to_owned(), with(json!({"deactivateVersionAfter": "soon"})), 400),
        ("POST", "/v2/secret".to_owned(), with(json!({"customMetadata": {"k": ""}})), 400),
        ("POST", "/v2/secret".to_owned(), with(json!({"customMetadata": {"k": "a b"}})), 400),
        ("POST", "/v2/secret".to_owned(), with(json!({"customMetadata": many})), 400),
        ("PUT", "/v2/secret/a".to_owned(), json!({}), 400),
        ("PUT", "/v2/secret/a?cas=x".to_owned(), json!({"version": {"data": {}}}), 400),
        ("PUT", "/v2/secret/a?cas=24001".to_owned(), json!({"version": {"data": {}}}), 400),
        ("PUT", "/v2/secret/none".to_owned(), json!({"version": {"data": {}}}), 404),
        ("POST", "/v2/secret/a".to_owned(), json!({}), 405),
        ("POST", "/v2/secret/none/version".to_owned(), data(json!({})), 404),
        ("PUT", "/v2/secret/a/version/1".to_owned(), json!({"state": "off"}), 400),
        ("PUT", "/v2/secret/a/version/0".to_owned(), json!({"state": "active"}), 400),
        ("PUT", "/v2/secret/a/version/x".to_owned(), json!({"state": "active"}), 400),
        ("PUT", "/v2/secretConfig".to_owned(), json!({"maxVersions": 24_001}), 400),
        ("POST", "/v1/secret/data/a".to_owned(), json!({}), 400),
        ("POST", "/v1/secret/data/a".to_owned(), data(json!("text")), 400),
        ("POST", "/v1/secret/data/a%".to_owned(), data(json!({})), 400),
        ("POST", "/v1/secret/data/a%252Fb".to_owned(), data(json!({})), 400),
        ("POST", "/v1/secret/data/a%2F".to_owned(), data(json!({})), 400),
        ("POST", "/v1/secret/delete/a".to_owned(), json!({"versions": []}), 400),
        ("POST", "/v1/secret/delete/a".to_owned(), json!({"versions": [0]}), 400),
        ("POST", "/v1/secret/delete/a".to_owned(), json!({"versions": ["1"]}), 400),
        ("PUT", "/v1/secret/destroy/none".to_owned(), json!({"versions": [1]}), 404),
        ("POST", "/v1/secret/metadata/a".to_owned(), json!({"custom_metadata": {"k": null}}), 400),
        ("PATCH", "/v1/secret/metadata/a".to_owned(), json!({"max_versions": 24_001}), 400),
        ("PATCH", "/v1/secret/data/none".to_owned(), data(json!({})), 404),
        ("POST", "/v1/secret/config".to_owned(), json!({"delete_version_after": "1w"}), 400),
        ("GET", "/v1/secret/data/a?version=x".to_owned(), json!({}), 400),
        ("GET", "/v2/secret/a?includeData=maybe".to_owned(), json!({}), 400),
        ("GET", "/v2/secret/a?version=0".to_owned(), json!({}), 400),
        ("GET", "/v1/secret/subkeys/none".to_owned(), json!({}), 404),
        ("COPY", "/v1/secret/metadata/a".to_owned(), json!({}), 405),
        ("DELETE", "/v1/secret/metadata".to_owned(), json!({}), 405),
    ];
    for (method, path, body, status) in cases {
        let shown = body.to_string();
        let answer = client.call(method, &path, body).await;
        let shown = shown.get(..60).unwrap_or(&shown);
        assert_eq!(answer.status, status, "{method} {path} {shown}: {}", answer.body);
        assert!(answer.body["error_code"].is_u64(), "{method} {path}");
        if status == 413 {
            client = service.client().await;
        }
    }
    let kept = client.get("/v2/secret/a?includeData=true").await.is(200);
    assert_eq!(
        (&kept["metadata"]["currentVersion"], &kept["version"]["data"]),
        (&json!(1), &json!({"k": "v"}))
    );
    let broken =
        client.send("POST", "/v1/secret/data/a", &[], b"{\"data\":{\"pass\":\"hunter2\"".to_vec()).await;
    assert!(broken.status == 400 && !broken.body.to_string().contains("hunter2"), "{}", broken.body);
    let typed = [("content-type", "text/plain")];
    assert_eq!(client.send("POST", "/v1/secret/data/a", &typed, b"{}".to_vec()).await.status, 415);
    assert_eq!(client.send("POST", "/v2/secret", &[], b"{}".to_vec()).await.status, 415);
}
