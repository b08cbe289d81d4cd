//! Tests on a real machine: the seam, making a region, TLS between nodes, the entry, the command line.

mod chain;
mod cli;
mod common;
mod entry;
mod init;
mod os_env;
mod tls;
