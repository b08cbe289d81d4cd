//! x
#[derive(clap::Args)]
pub struct Args {}
pub fn run(_a: &Args) -> Result<u8, crate::shell::Failure> {
    Ok(0)
}
