//! Another set of shares in the place of the one there is: on a host, and what a rotation that was broken off goes on with.

use crate::{
    region::Region,
    sealing::{SEAL, SHARES, UNSEAL, encrypts, give, line, seal, share, status, unseal},
};
use http::Method;
use kms::{
    api::admin::types::{Line, RotateBody, SealBody, ShareBody},
    config::AuditConfig,
    init::SEALED_ROOT_FILE,
    operator::{
        admin::{Admin, AdminError},
        rotation::{RotationError, begun, without},
        unseal::HostSeal,
    },
    vault::unseal::{SealedRoot, ShareSet, UnsealKey, UnsealShare, share_file},
};
use std::{path::Path, sync::Arc, time::Duration};

/// A new set of shares: those of the second one unseal with 2 of 3.
async fn rotate(region: &Region, old: [u8; 3], new: &[UnsealShare]) -> Result<SealBody, AdminError> {
    let old = old.map(|number| Line(share(region, number).line())).into();
    let body = RotateBody { old, new: new.iter().take(2).map(|share| Line(share.line())).collect() };
    region.operator().send(Method::PUT, SHARES, &body).await
}

#[tokio::test]
async fn another_set_of_shares_takes_the_place_of_the_first() {
    let mut region = Region::sealed(false).await;
    unseal(&region, [1, 2, 3]).await;
    let key = region.client().await.create("k").await.to_string();
    let before = region.disk.contents(Path::new(SEALED_ROOT_FILE));
    let new = UnsealKey::generate(&region.env, 2, 3).and_then(|key| key.split(&region.env)).expect("shares");

    region.disk.fill(true);
    let (code, why) = status(rotate(&region, [1, 2, 3], &new).await);
    assert!(code == 500 && why.contains("may still count"), "{why}");
    region.disk.fill(false);
    assert_eq!(region.disk.contents(Path::new(SEALED_ROOT_FILE)), before);

    let few = RotateBody {
        old: [1, 2].map(|number| Line(share(&region, number).line())).into(),
        new: new.iter().map(|share| Line(share.line())).collect(),
    };
    let few: Result<SealBody, _> = region.operator().send(Method::PUT, SHARES, &few).await;
    assert_eq!(status(few).0, 400, "two of three are too few");
    for _ in 0..2 {
        let state = rotate(&region, [5, 2, 1], &new).await.expect("rotates, and again it is so already");
        let shares = state.shares.expect("shares");
        assert_eq!((state.sealed, shares.threshold, shares.count), (false, 2, 3));
    }
    assert_eq!(encrypts(&mut region.client().await, &key).await, 200, "nothing else has changed");

    region.restart().await;
    let operator = region.operator();
    let old = status(give(&operator, &line(&region, 1)).await);
    assert!(old.0 == 400 && old.1.contains("take shares of that set"), "{old:?}");
    assert!(give(&operator, &new[2].line()).await.expect("taken").sealed);
    assert!(!give(&operator, &new[0].line()).await.expect("opens").sealed);
    assert_eq!(encrypts(&mut region.client().await, &key).await, 200);

    // What docs/sealing.md warns of: whoever kept the file of before can use the shares of before.
    let old: Vec<_> = [1, 2, 3].map(|number| share(&region, number)).into();
    let stale = SealedRoot::parse(&before).expect("a sealed root key");
    assert!(UnsealKey::combine(&old).and_then(|key| key.open(&stale)).is_ok());
}

#[tokio::test]
async fn a_disk_that_hangs_keeps_nobody_from_sealing() {
    let region = Arc::new(Region::sealed(false).await);
    unseal(&region, [1, 2, 3]).await;
    let new = made(&region, 2, 3);
    region.disk.hold_syncs(true);
    let rotating = region.env.spawn("rotation", {
        let region = Arc::clone(&region);
        async move { rotate(&region, [1, 2, 3], &new).await }
    });
    region.env.sleep(Duration::from_millis(200)).await;
    let operator = region.operator();
    let soon = async { (operator.get::<SealBody>(SEAL).await, seal(&region).await) };
    let (asked, sealed) = region.env.timeout(Duration::from_secs(5), soon).await.expect("neither waits");
    let shares = asked.expect("an answer").shares.expect("shares");
    assert_eq!(
        (sealed.sealed, shares.threshold),
        (true, 3),
        "the shares of before count until it is written"
    );
    region.disk.hold_syncs(false);
    let state = rotating.await.expect("no panic").expect("rotates");
    assert_eq!((state.sealed, state.shares.expect("shares").threshold), (true, 2));
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_rotated_unless_the_host_is_sealed() {
    let region = Region::sealed_with(AuditConfig { max_bytes: 1 << 20, ..AuditConfig::default() }).await;
    let operator = region.operator();
    assert!(!unseal(&region, [1, 2, 3]).await.sealed, "the spool has room for this entry yet");
    let state: SealBody = operator.get(SEAL).await.expect("how it stands is told always");
    assert!(!state.sealed);
    let (before, new) = (region.disk.contents(Path::new(SEALED_ROOT_FILE)), made(&region, 2, 3));
    assert_eq!(status(rotate(&region, [1, 2, 3], &new).await).0, 503);
    assert_eq!(region.disk.contents(Path::new(SEALED_ROOT_FILE)), before);
    let none = ShareBody { share: None };
    assert_eq!(status(operator.send(Method::POST, UNSEAL, &none).await).0, 503);
    assert!(seal(&region).await.sealed, "keys do not stay because a disk is full");
    assert!(rotate(&region, [1, 2, 3], &new).await.expect("nothing is recorded of a sealed host").sealed);
}

fn made(region: &Region, threshold: u8, count: u8) -> Vec<UnsealShare> {
    UnsealKey::generate(&region.env, threshold, count).and_then(|key| key.split(&region.env)).expect("shares")
}

const DIR: &str = "new";

/// The state of a rotation: two hosts, and what is in the directory.
struct Rotation {
    region: Region,
    other: Region,
    old: ShareSet,
    new: Vec<UnsealShare>,
}

impl Rotation {
    async fn new() -> Rotation {
        let (region, other) = (Region::sealed(false).await, Region::sealed(false).await);
        // One region's hosts have the same root key, sealed under the same set.
        let sealed = region.disk.contents(Path::new(SEALED_ROOT_FILE));
        other.disk.put(Path::new(SEALED_ROOT_FILE), sealed);
        let mut rotation = Rotation { old: share(&region, 1).set(), new: made(&region, 3, 5), region, other };
        rotation.other.restart().await;
        rotation
    }

    fn write(&self, file: u8, share: &UnsealShare) {
        self.region.disk.put(&Path::new(DIR).join(share_file(file)), share.line().as_bytes().to_vec());
    }

    fn delete(&self, file: u8) {
        self.region.disk.take(&Path::new(DIR).join(share_file(file)));
    }

    fn write_all(&self) {
        for share in &self.new {
            self.write(share.index(), share);
        }
    }

    async fn hosts(&self, with: impl AsyncFn(&Admin) -> Result<SealBody, AdminError>) -> Vec<HostSeal> {
        let mut hosts = Vec::new();
        for (address, region) in [("a", &self.region), ("b", &self.other)] {
            hosts.push(HostSeal { address: address.to_owned(), state: with(&region.operator()).await });
        }
        hosts
    }

    async fn begun(&self) -> Result<Option<Vec<UnsealShare>>, RotationError> {
        let hosts = self.hosts(async |host| host.get(SEAL).await).await;
        begun(&*self.region.env.disk, hosts, self.old, Path::new(DIR))
    }

    /// One of the two hosts gets the new set.
    async fn half_done(&self) {
        let lines = |shares: &[UnsealShare]| shares.iter().map(|share| Line(share.line())).collect();
        let old: Vec<_> = [1, 2, 3].map(|number| share(&self.region, number)).into();
        let body = RotateBody { old: lines(&old), new: lines(&self.new[..3]) };
        let done: Result<SealBody, _> = self.region.operator().send(Method::PUT, SHARES, &body).await;
        done.expect("rotates");
    }
}

#[tokio::test]
async fn a_rotation_that_was_broken_off_goes_on_with_all_of_its_shares() {
    let rotation = Rotation::new().await;
    assert!(rotation.begun().await.expect("nothing is in the way").is_none(), "it makes some");
    for done in [false, true] {
        if done {
            rotation.half_done().await;
        }
        rotation.write_all();
        let kept = rotation.begun().await.expect("goes on").expect("with those");
        let same = kept.iter().map(|share| share.line()).eq(rotation.new.iter().map(|share| share.line()));
        assert!(same && kept.len() == 5);
    }
    let hosts = rotation.hosts(async |host| host.get(SEAL).await).await;
    assert_eq!(without(&hosts, &rotation.new[0].set()), ["b"], "who has old shares must keep them");
}

#[tokio::test]
async fn a_set_that_was_not_all_written_is_not_gone_on_with() {
    let rotation = Rotation::new().await;
    for share in &rotation.new[..3] {
        rotation.write(share.index(), share);
    }
    let refused = rotation.begun().await.err().expect("three of five would be three of three");
    assert!(matches!(refused, RotationError::Useless { there: 3, count: 5, .. }), "{refused}");
    assert!(refused.to_string().contains("delete those files"), "{refused}");
    // Five files that are not five shares.
    rotation.write(4, &rotation.new[3]);
    rotation.write(5, &rotation.new[3]);
    let refused = rotation.begun().await.err().expect("share 5 is nowhere");
    assert!(matches!(refused, RotationError::NoShare(..)), "{refused}");
    rotation.write(5, &made(&rotation.region, 3, 5)[4]);
    let refused = rotation.begun().await.err().expect("of another set");
    assert!(matches!(refused, RotationError::Mixed(_)), "{refused}");
    rotation.region.disk.put(&Path::new(DIR).join(share_file(5)), b"okms-unseal-share-v1 \xff".to_vec());
    assert!(matches!(rotation.begun().await, Err(RotationError::NoShare(..))));

    rotation.write_all();
    rotation.half_done().await;
    rotation.delete(2);
    let refused = rotation.begun().await.err().expect("a host wants them");
    assert!(matches!(&refused, RotationError::Needed { there: 4, host, .. } if host == "a"), "{refused}");
}

#[tokio::test]
async fn no_third_set_is_made() {
    let mut rotation = Rotation::new().await;
    rotation.half_done().await;
    let refused = rotation.begun().await.err().expect("the new shares are gone, and a host wants them");
    let wanted = rotation.new[0].set().name();
    assert!(matches!(&refused, RotationError::OtherSet { wanted: set, .. } if *set == wanted), "{refused}");
    for number in 1..=5 {
        rotation.write(number, &share(&rotation.region, number));
    }
    let refused = rotation.begun().await.err().expect("the old shares are no new ones");
    assert!(matches!(refused, RotationError::OldOnes(..)), "{refused}");
    for share in &made(&rotation.region, 3, 5) {
        rotation.write(share.index(), share);
    }
    let refused = rotation.begun().await.err().expect("shares of a third set");
    assert!(matches!(&refused, RotationError::OtherSet { .. }), "{refused}");

    // A host that says nothing may want any.
    rotation = Rotation::new().await;
    let hosts = async |rotation: &Rotation| {
        let mut hosts = rotation.hosts(async |host| host.get(SEAL).await).await;
        hosts[1].state = Err(AdminError::NoAddress);
        hosts
    };
    let (disk, old) = (&*rotation.region.env.disk, rotation.old);
    let refused = begun(disk, hosts(&rotation).await, old, Path::new(DIR)).err().expect("who knows");
    assert!(matches!(&refused, RotationError::Silent(host, _) if host == "b"), "{refused}");
    rotation.write_all();
    assert!(begun(disk, hosts(&rotation).await, old, Path::new(DIR)).is_ok(), "those are there to be given");
}

#[tokio::test]
async fn a_host_with_a_key_file_has_no_shares_to_replace() {
    let rotation = Rotation::new().await;
    let state = Ok(SealBody { sealed: false, shares: None });
    let hosts = vec![HostSeal { address: "a".to_owned(), state }];
    let refused = begun(&*rotation.region.env.disk, hosts, rotation.old, Path::new(DIR));
    assert!(matches!(refused, Err(RotationError::NoShares(_))));
}
