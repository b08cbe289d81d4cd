//! Semantics of object stores: whole objects, names in order, pages. Says nothing of faults, nor of names that are other names'
//! directories, which no caller may use.

use super::{Failed, expect};
use kms::env::{
    BoxFuture, Keeping, Listed, OBJECT_LIST_MAX, OBJECT_MAX_BYTES, ObjectError, ObjectName, Objects,
};

/// Runs every case on an empty store that keeps no versions.
///
/// # Errors
/// The first expectation that did not hold.
pub async fn all(store: &dyn Objects) -> Result<(), Failed> {
    expect(store.keeping().await? == Keeping::default(), "the store keeps nothing that was deleted")?;
    whole_objects(store).await?;
    listings(store).await?;
    pages(store).await?;
    sizes(store).await
}

fn name(text: &str) -> Result<ObjectName, Failed> {
    Ok(ObjectName::new(text)?)
}

fn names(listed: &[Listed]) -> Vec<&str> {
    listed.iter().map(|listed| listed.name.as_str()).collect()
}

async fn whole_objects(store: &dyn Objects) -> Result<(), Failed> {
    let one = name("whole/2026-11-26/one")?;
    expect(store.get(&one).await?.is_none(), "an object that is not there is none")?;
    store.delete(&one).await?;
    store.put(&one, b"first".to_vec()).await?;
    expect(store.get(&one).await?.as_deref() == Some(b"first"), "what was put is there")?;
    store.put(&one, b"second, longer".to_vec()).await?;
    expect(store.get(&one).await?.as_deref() == Some(b"second, longer"), "a put replaces")?;
    store.put(&one, b"2".to_vec()).await?;
    expect(store.get(&one).await?.as_deref() == Some(b"2"), "and leaves nothing of the old one")?;
    store.put(&one, Vec::new()).await?;
    expect(store.get(&one).await?.as_deref() == Some(b""), "an empty object is an object")?;
    store.delete(&one).await?;
    store.delete(&one).await?;
    expect(store.get(&one).await?.is_none(), "a deleted object is none")?;
    expect(store.list("whole/", None).await?.is_empty(), "and is not listed")
}

async fn listings(store: &dyn Objects) -> Result<(), Failed> {
    expect(store.list("nothing/", None).await?.is_empty(), "below a prefix of nothing there is nothing")?;
    // As bytes: `-` before `.` before `/` before digits before letters. A directory's place differs.
    let order = ["l/a-b", "l/a.b", "l/a/b", "l/a/c/d", "l/a0", "l/ab", "l/b"];
    for (at, text) in order.iter().enumerate().rev() {
        store.put(&name(text)?, vec![1; at]).await?;
    }
    store.put(&name("lm/z")?, b"z".to_vec()).await?;
    let listed = store.list("l/", None).await?;
    expect(names(&listed) == order, "names come in the order of their bytes")?;
    let sizes = listed.iter().enumerate().all(|(at, listed)| listed.bytes == at as u64);
    expect(sizes, "with their sizes")?;
    expect(names(&store.list("l/a/", None).await?) == order[2..4], "those below a prefix only")?;
    let after = name("l/a/b")?;
    expect(names(&store.list("l/", Some(&after)).await?) == order[3..], "after a name, without it")?;
    let between = name("l/a/bb")?;
    expect(names(&store.list("l/", Some(&between)).await?) == order[3..], "which need not be there")?;
    let all = store.list("", None).await?;
    expect(names(&all) == [&order[..], &["lm/z"]].concat(), "no prefix is all")?;
    for listed in all {
        store.delete(&listed.name).await?;
    }
    expect(store.list("", None).await?.is_empty(), "nothing is left")
}

async fn pages(store: &dyn Objects) -> Result<(), Failed> {
    const MORE: usize = 7;
    for number in 0..OBJECT_LIST_MAX + MORE {
        store.put(&name(&format!("pages/{number:06}"))?, vec![0]).await?;
    }
    let first = store.list("pages/", None).await?;
    expect(first.len() == OBJECT_LIST_MAX, "a page is as long as it may be")?;
    let last = first.last().map(|listed| listed.name.clone());
    let rest = store.list("pages/", last.as_ref()).await?;
    expect(rest.len() == MORE, "the next one has the rest")?;
    expect(rest.iter().all(|listed| Some(&listed.name) > last.as_ref()), "which comes after it")?;
    for listed in first.iter().chain(&rest) {
        store.delete(&listed.name).await?;
    }
    Ok(())
}

async fn sizes(store: &dyn Objects) -> Result<(), Failed> {
    let large = name("sizes/large")?;
    let bytes: Vec<u8> =
        (0..OBJECT_MAX_BYTES).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    store.put(&large, bytes.clone()).await?;
    expect(store.get(&large).await? == Some(bytes), "the largest object comes back as it was")?;
    let put: BoxFuture<'_, _> = store.put(&large, vec![0; OBJECT_MAX_BYTES + 1]);
    let refused = matches!(put.await, Err(ObjectError::TooLarge { .. }));
    expect(refused, "a larger one is refused")?;
    store.delete(&large).await?;
    Ok(())
}
