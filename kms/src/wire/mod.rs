//! What nodes say to each other: frames, messages, mutual TLS.

pub mod frame;
pub mod message;
