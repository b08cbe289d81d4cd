//! What nodes say to each other (frames and messages), and how they know each other (mutual TLS).

pub mod asking;
pub mod epoch;
pub mod feed;
pub mod frame;
pub mod hyper_io;
pub mod identity;
pub mod keyring;
pub mod message;
pub mod restore;
pub mod silence;
pub mod tls;
