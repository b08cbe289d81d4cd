//! Which other regions keep what a region may lose (OVHcloud KMS: "The data is backed up in the following regions"): RBX is backed
//! up in SBG and GRA, SBG in RBX and GRA; any other region in two that its owner names. Knows names only.

use std::collections::BTreeSet;

/// The two backup regions of `region`, the replica's first; `None` if the documentation does not name them.
pub fn backup_regions(region: &str) -> Option<[&'static str; 2]> {
    match region {
        "eu-west-rbx" => Some(["eu-west-sbg", "eu-west-gra"]),
        "eu-west-sbg" => Some(["eu-west-rbx", "eu-west-gra"]),
        _ => None,
    }
}

/// Whether a replica of `region` may stand in `place`.
///
/// # Errors
/// Says which rule is broken.
pub fn check_replica(region: &str, place: &str) -> Result<(), String> {
    if place == region {
        return Err(format!(
            "the replica must stand in another region than {region}: it is what survives it"
        ));
    }
    match backup_regions(region) {
        Some(regions) if !regions.contains(&place) => Err(format!(
            "the replica of {region} must stand in one of its backup regions, {} or {}, not in {place}",
            regions[0], regions[1]
        )),
        _ => Ok(()),
    }
}

/// Whether the backups of `region` may lie in `stores`: two other regions, and where they are documented, those. The replica
/// may stand in one of them: the other store survives the loss of the region and of that place.
///
/// # Errors
/// Says which rule is broken.
pub fn check_backups(region: &str, stores: &[&str]) -> Result<(), String> {
    let places: BTreeSet<&str> = stores.iter().copied().collect();
    if stores.len() != 2 || places.len() != 2 {
        return Err(format!("{region} needs two backup stores in two regions, not {:?}", stores));
    }
    if places.contains(region) {
        return Err(format!("no backup of {region} may lie in {region} itself: it is what survives it"));
    }
    match backup_regions(region) {
        Some(documented) if !documented.iter().all(|place| places.contains(place)) => Err(format!(
            "the backups of {region} lie in {} and {}, not in {} and {}",
            documented[0], documented[1], stores[0], stores[1]
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_lie_in_two_documented_other_regions() {
        let (rbx, sbg, gra) = ("eu-west-rbx", "eu-west-sbg", "eu-west-gra");
        assert_eq!(check_backups(rbx, &[sbg, gra]), Ok(()));
        assert_eq!(check_backups(rbx, &[gra, sbg]), Ok(()));
        assert_eq!(check_backups(sbg, &[rbx, gra]), Ok(()));
        assert_eq!(check_backups("ca-east-bhs", &["ca-east-tor", gra]), Ok(()));
        for (region, stores) in [
            (rbx, &[sbg][..]),
            (rbx, &[]),
            (rbx, &[sbg, sbg]),
            (rbx, &[sbg, gra, "eu-west-lim"]),
            (rbx, &[rbx, gra]),
            (rbx, &[sbg, "eu-west-lim"]),
            (sbg, &[gra, "eu-west-lim"]),
            ("ca-east-bhs", &["ca-east-bhs", gra]),
        ] {
            assert!(check_backups(region, stores).is_err(), "{region} {stores:?}");
        }
    }
}
