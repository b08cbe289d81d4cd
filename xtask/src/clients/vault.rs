//! A client that was written for HashiCorp Vault's KV version 2, and knows nothing of this service.

use super::Came;
use crate::region::Region;
use crate::say;
use crate::shell::{self, Failure};
use crate::venv::environment;
use std::path::Path;
use std::process::{Command, Stdio};

/// Has hvac make all its calls, against a region of its own in `run`.
///
/// # Errors
/// When the region cannot be started.
pub fn come(root: &Path, home: &Path, kms: &Path, run: &Path) -> Result<Came, Failure> {
    let tools = root.join("xtask/clients");
    let python = match environment(home, &tools.join("requirements.txt"))? {
        Ok(python) => python,
        Err(why) => return Ok(Came::NotExercised(why)),
    };
    let region = Region::start(kms, run)?;
    let mut command = Command::new(python);
    command.arg(tools.join("vault_kv2.py")).arg(&region.address).arg(&region.domain).arg(&region.directory);
    command.stdin(Stdio::null()).env("PYTHONDONTWRITEBYTECODE", "1");
    say::err(format_args!("$ {}", shell::shown(&command)));
    Ok(if command.status()?.success() { Came::Held } else { Came::Broken(run.to_path_buf()) })
}
