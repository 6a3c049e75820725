//! The only code that touches the kernel's side of a fault: loads, attaches, writes maps, reverts.
//!
//! A node has one [`Plane`], the maps that all its programs share, and [`Hooks`] per fault kind and
//! mechanism. Nothing here outlives its values: programs and maps are held by file descriptors, so
//! dropping them, or the end of the process by whatever cause, detaches everything.

mod btf;
mod call_sets;
mod calls;
mod delays;
mod devices;
mod dns;
mod events;
mod file_hooks;
mod filters;
mod gate;
mod hooks;
mod hung;
mod kernel;
mod lanes;
mod lateness;
mod lease;
mod loader;
mod maps;
mod object;
mod packet;
mod plane;
mod pool;
mod sys;

use std::io;

pub use dns::{DnsSpec, ListedName};
pub use events::Sampled;
pub use hooks::Hooks;
#[cfg(test)]
pub(crate) use hooks::hook;
pub use lateness::Lateness;
pub use maps::NAME_PREFIX;
pub use object::Object;
pub use packet::{PacketSpec, PeerNetwork};
pub use plane::{Calls, Excluded, Plane, Record, RuleNumber, RulePlace, RuleSpec};

use crate::experiment::Mechanism;

/// Why the engine could not do something.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// This build has no BPF programs in it.
    #[error(
        "this build of kchaos has no BPF object '{0}': run `cargo xtask build-ebpf` and build again"
    )]
    ObjectNotBuilt(&'static str),
    /// The kernel's own description of its types can't be used.
    #[error("the kernel's type information (/sys/kernel/btf/vmlinux): {0}")]
    Btf(String),
    /// A structure of this kernel lacks a field that a program reads.
    #[error("this kernel has no field {0}")]
    MissingField(&'static str),
    /// The kernel refused to load or attach a program.
    #[error("{mechanism} program {program}: {reason}")]
    Refused {
        /// The mechanism that it is for.
        mechanism: Mechanism,
        /// The program's name.
        program: &'static str,
        /// What the kernel or the loader said, verifier log included.
        reason: String,
    },
    /// This mechanism has no hook for what was asked of it, or not on this kernel.
    #[error("{0}")]
    NoHook(String),
    /// A map could not be written or read.
    #[error("map {map}: {reason}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// A bound of the fault plane is reached.
    #[error("{0}")]
    Full(String),
    /// What is asked for can't be told from what is somebody else's, here and now.
    #[error("{0}")]
    Shared(String),
    /// Another system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The whole chain of an error, because aya's outer messages say little.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}
