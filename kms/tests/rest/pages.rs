//! Lists in pages, also while keys come and go.

use crate::region::Region;
use serde_json::json;
use std::collections::BTreeSet;

async fn page(client: &mut crate::client::Client, query: &str) -> (Vec<String>, String, bool) {
    let answer = client.get(&format!("/servicekey?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let list = answer.body["objects_list"].as_array().expect("a list");
    let ids = list.iter().map(|key| key["id"].as_str().expect("an id").to_owned()).collect();
    let truncated = answer.body["is_truncated"].as_bool().expect("a flag");
    (ids, answer.text("continuation_token").to_owned(), truncated)
}

#[tokio::test]
async fn pages_show_every_key_once() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let mut made = BTreeSet::new();
    for n in 0..35 {
        made.insert(client.create(&format!("k{n}")).await.to_string());
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    let mut pages = 0;
    loop {
        let (ids, next, truncated) = page(&mut client, &format!("max=10&continuation-token={token}")).await;
        assert!(!next.is_empty());
        seen.extend(ids);
        token = next;
        pages += 1;
        if pages == 2 {
            // One more comes in between: shown or not, the others are shown once all the same.
            client.create("late").await;
        }
        if !truncated {
            break;
        }
    }
    assert!(pages >= 4);
    let unique: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(unique.len(), seen.len());
    assert!(made.is_subset(&unique));
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn filters_fill_their_pages() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let mut keys = Vec::new();
    for n in 0..24 {
        keys.push(client.create(&format!("k{n}")).await);
    }
    keys.sort();
    for key in keys.iter().step_by(2) {
        client.post(&format!("/servicekey/{key}/deactivate"), json!({"reason": "unspecified"})).await;
    }
    client.call("DELETE", &format!("/servicekey/{}", keys[0]), None).await;
    let (active, token, truncated) = page(&mut client, "state=active&max=10").await;
    assert_eq!((active.len(), truncated), (10, true));
    let (rest, _, truncated) =
        page(&mut client, &format!("state=active&max=10&continuation-token={token}")).await;
    assert_eq!((rest.len(), truncated), (2, false));
    assert_eq!(page(&mut client, "state=deactivated").await.0.len(), 11);
    assert_eq!(page(&mut client, "state=destroyed").await.0, [keys[0].to_string()]);
    assert_eq!(page(&mut client, "max=100").await.0.len(), 23);
    assert_eq!(page(&mut client, "state=all").await.0.len(), 24);
}

#[tokio::test]
async fn tokens_of_others_are_refused() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let (_, token, _) = page(&mut client, "").await;
    let mut stranger = region.client_of(1).await;
    stranger.base = format!("/api/{}/v1", region.bundle.clients[1].domain);
    let mut flipped = token.clone().into_bytes();
    flipped[3] = if flipped[3] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).expect("text");
    for (client, token) in [(&mut stranger, token), (&mut client, flipped)] {
        let answer = client.get(&format!("/servicekey?continuation-token={token}")).await;
        assert_eq!((answer.status, answer.text("error_id")), (400, "bad_argument"));
    }
}
