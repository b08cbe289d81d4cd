//! The simulator: the production service in a world of simulated network, disks and clocks, with faults
//! drawn from a seed, and checkers that judge the history its clients saw.

pub mod access;
pub mod actions;
pub mod check;
pub mod conformance;
pub mod dice;
pub mod history;
pub mod library;
pub mod nemesis;
pub mod plan;
pub mod report;
pub mod run;
pub mod scenario;
pub mod veiled;
pub mod workload;
pub mod world;
