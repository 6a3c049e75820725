//! Loader, agent, scheduler and command line of kchaos.

#![deny(missing_docs)]

pub mod agent;
pub mod api;
mod boot;
pub mod cli;
pub mod engine;
pub mod experiment;
pub mod fault;
pub mod guard;
pub mod heal;
pub mod journal;
pub mod knob;
mod lane;
mod netlink;
pub mod node;
pub mod pause;
pub mod residue;
pub mod run;
pub mod scheduler;
pub mod seccomp;
mod sockets;
pub mod state;
pub mod stop;
pub mod support;
pub mod target;
pub mod vdso;
