//! Which other regions keep what a region may lose (OVHcloud KMS: "The data is backed up in the following regions"): RBX is backed
//! up in SBG and GRA, SBG in RBX and GRA; any other region in two that its owner names. Knows names only.

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
