//! A key management service: one region of two zones, every key write held by both zones' databases
//! before it is acknowledged, every record sealed before it leaves a host.
//!
//! The crate touches the world only through [`mod@env`]: production gives it sockets, files and the system
//! clock (`os`), the simulator gives it simulated ones. There is no feature, cfg or static that switches
//! between the two.

#![forbid(unsafe_code)]

pub mod api;
pub mod audit;
pub mod backup;
pub mod config;
pub mod container;
pub mod crypto;
pub mod customer;
pub mod dates;
pub mod engine;
pub mod entry;
pub mod env;
pub mod error;
pub mod iam;
pub mod init;
pub mod limits;
pub mod metrics;
pub mod node;
pub mod operator;
pub mod os;
pub mod places;
pub mod record;
pub mod replica;
pub mod store;
pub mod vault;
pub mod wire;
