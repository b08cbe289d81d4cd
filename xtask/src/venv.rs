//! Virtual environments of Python below target/, with packages from PyPI in pinned versions.

use crate::shell::{self, Failure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The interpreter of the virtual environment below `home`, made if it is not there as `requirements` say; or why there is none.
///
/// # Errors
/// When files cannot be read, written or removed.
pub fn environment(home: &Path, requirements: &Path) -> Result<Result<PathBuf, String>, Failure> {
    let directory = home.join("venv");
    let python = directory.join("bin/python");
    let stamp = directory.join("installed.txt");
    let wanted = fs::read_to_string(requirements)?;
    if shell::text(&stamp) == wanted && python.exists() {
        return Ok(Ok(python));
    }
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(home)?;
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&directory).stdin(Stdio::null());
    if !shell::run(&mut make).unwrap_or(false) {
        return Ok(Err("there is no python3 that makes virtual environments".into()));
    }
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r"]);
    install.arg(requirements).stdin(Stdio::null());
    if !shell::run(&mut install)? {
        return Ok(Err(format!("pip cannot install what {} lists", requirements.display())));
    }
    fs::write(&stamp, wanted)?;
    Ok(Ok(python))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_requirement_is_pinned() {
        let lists = [
            ("schemathesis", include_str!("../schemathesis/requirements.txt")),
            ("hvac", include_str!("../clients/requirements.txt")),
        ];
        for (wanted, requirements) in lists {
            let lines: Vec<&str> = requirements.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(lines.iter().any(|line| line.starts_with(&format!("{wanted}=="))));
            assert!(lines.iter().all(|line| line.contains("==")), "{lines:?}");
        }
    }
}
