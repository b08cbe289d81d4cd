//! Tests on a real machine: the seam, making a region, TLS between nodes, the entry, the command line.

mod apart;
mod audit;
mod chain;
mod cli;
mod common;
mod copies;
mod created;
mod disk;
mod domain;
mod entry;
mod init;
mod operator;
mod os_env;
mod quota;
mod region;
mod rehearse;
mod replica;
mod rest;
mod restore;
mod secrets;
mod tls;
mod wiped;
mod within;
mod witness;
