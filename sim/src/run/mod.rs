//! One run: a plan is played in a world and judged. The phases and the judging are the same for simulated and
//! real processes; only [`sim`] knows the simulated world.

pub mod access;
mod audits;
mod backups;
mod created;
mod images;
mod keepers;
mod keys;
mod operator;
pub mod phases;
pub mod probes;
pub mod report;
pub mod rows;
pub mod sim;
