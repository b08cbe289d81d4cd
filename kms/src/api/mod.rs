//! What clients speak. Translates between protocols and [`crate::engine`]; decides nothing.

pub mod rest;
