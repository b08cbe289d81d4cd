//! Makes the JSON form of the description of the REST interface, and both forms compressed, from the one text that is kept by hand.
//! Done here so that the service has no reader of YAML and compresses nothing while it runs.

#![expect(clippy::disallowed_methods, reason = "runs when the service is built, not in it")]

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use std::{error::Error, fs, io::Write, path::PathBuf};

const SOURCE: &str = "src/api/rest/openapi.yaml";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={SOURCE}");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let yaml = fs::read_to_string(SOURCE)?;
    let value: serde_json::Value = serde_saphyr::from_str(&yaml)?;
    let json = serde_json::to_vec(&value)?;
    fs::write(out.join("openapi.yaml.gz"), gzip(yaml.as_bytes())?)?;
    fs::write(out.join("openapi.json.gz"), gzip(&json)?)?;
    fs::write(out.join("openapi.json"), json)?;
    let hash = Sha256::digest(yaml.as_bytes());
    let tag: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    println!("cargo:rustc-env=KMS_OPENAPI_TAG={tag}");
    Ok(())
}

/// The same bytes at each build: no time, no name (RFC 1952, 2.3.1).
fn gzip(bytes: &[u8]) -> Result<Vec<u8>, std::io::Error> {
    let mut writer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    writer.write_all(bytes)?;
    writer.finish()
}
