//! The simulator's speed is measured on a binary of its own, built with its own flags: not here.

fn main() {
    kms_benches::report::line("simulator speed: not run (use cargo xtask bench)");
}
