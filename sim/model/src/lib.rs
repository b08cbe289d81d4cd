//! The protocol of the replicated record store (`docs/protocol.md`) as a model that is searched exhaustively
//! within bounds. Links none of the service: it checks the rules, not the code that follows them.
//!
//! [`table`] has the configurations that hold and the defects that must be found; [`run`] searches them.

pub mod action;
pub mod bounds;
pub mod chain;
pub mod defect;
pub mod epochs;
pub mod goal;
pub mod history;
pub mod lease;
pub mod log;
pub mod promise;
pub mod protocol;
pub mod run;
pub mod start;
pub mod state;
pub mod table;
pub mod words;
