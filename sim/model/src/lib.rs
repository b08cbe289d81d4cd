//! The protocol of the replicated record store (`docs/protocol.md`) as a model that is searched exhaustively
//! within bounds. Links none of the service: it checks the rules, not the code that follows them.
//!
//! [`table`] has the configurations that hold and the defects that must be found; [`run`] searches them.

mod action;
mod bounds;
mod chain;
mod defect;
mod epochs;
mod goal;
mod history;
mod lease;
mod log;
mod promise;
pub mod protocol;
pub mod replacement;
pub mod run;
mod start;
mod state;
pub mod table;
pub mod words;
