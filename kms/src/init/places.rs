//! Which other regions keep what a region may lose (OVHcloud KMS: "The data is backed up in the following regions"): RBX is backed
//! up in SBG and GRA, SBG in RBX and GRA; any other region in two that its owner names. Knows names only.

use super::InitError;

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
/// [`InitError::Spec`] says which rule is broken.
pub(super) fn check_replica(region: &str, place: &str) -> Result<(), InitError> {
    let wrong = |why: String| Err(InitError::Spec(why));
    if place == region {
        return wrong(format!(
            "the replica must stand in another region than {region}: it is what survives it"
        ));
    }
    match backup_regions(region) {
        Some(regions) if !regions.contains(&place) => wrong(format!(
            "the replica of {region} must stand in one of its backup regions, {} or {}, not in {place}",
            regions[0], regions[1]
        )),
        _ => Ok(()),
    }
}
