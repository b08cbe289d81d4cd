//! What clients and the operator speak. Translates between protocols and [`crate::engine`]; decides nothing.

pub mod admin;
pub mod rest;
