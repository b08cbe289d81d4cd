//! Lists in pages, also while keys come and go.

use crate::{client::Client, region::Region};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;

async fn page(client: &mut Client, query: &str) -> (Vec<String>, String, bool) {
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

/// What happens between two pages.
#[derive(Debug, Clone)]
enum Change {
    Create,
    /// Destroys the key at this place of those that are left.
    Destroy(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => Just(Change::Create),
        3 => any::<prop::sample::Index>().prop_map(Change::Destroy),
    ]
}

async fn destroy(client: &mut Client, key: &str) {
    let body = json!({"reason": "unspecified"});
    assert_eq!(client.post(&format!("/servicekey/{key}/deactivate"), body).await.status, 204);
    assert_eq!(client.call("DELETE", &format!("/servicekey/{key}"), None).await.status, 204);
}

/// Walks through the list from its start to its end; answers what it showed.
async fn walk(
    client: &mut Client,
    max: usize,
    changes: &[Vec<Change>],
    living: &mut Vec<String>,
) -> Vec<String> {
    let (mut seen, mut token) = (Vec::new(), String::new());
    for turn in 0.. {
        let (ids, next, truncated) = page(client, &format!("max={max}&continuation-token={token}")).await;
        assert!(ids.len() <= max);
        assert!(ids.len() == max || !truncated, "only the last page may be short");
        seen.extend(ids);
        token = next;
        if !truncated {
            break;
        }
        for change in changes.get(turn).into_iter().flatten() {
            match change {
                Change::Create => living.push(client.create("late").await.to_string()),
                Change::Destroy(_) if living.is_empty() => {}
                Change::Destroy(which) => {
                    let key = living.swap_remove(which.index(living.len()));
                    destroy(client, &key).await;
                }
            }
        }
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_walk_shows_once_whatever_stays_while_keys_come_and_go(
        first in 0usize..70,
        max in 10usize..20,
        changes in prop::collection::vec(prop::collection::vec(change(), 0..15), 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (before, living, seen) = runtime.block_on(async {
            let region = Region::new().await;
            let mut client = region.client().await;
            let mut living = Vec::new();
            for _ in 0..first {
                living.push(client.create("early").await.to_string());
            }
            let before = living.clone();
            let seen = walk(&mut client, max, &changes, &mut living).await;
            (before, living, seen)
        });
        // Strictly increasing: in order, and none twice.
        prop_assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
        for key in before.iter().filter(|key| living.contains(key)) {
            prop_assert!(seen.contains(key), "{key} was there all the time and is not shown");
        }
    }
}
