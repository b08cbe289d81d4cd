//! What nodes say to each other, and how they know each other.

pub mod identity;
pub mod tls;
