//! The protocol `kchaos.v1`: conversions between the wire and the model, and the services.
//!
//! Handlers hold no logic: a request is converted, handed to the [`crate::scheduler`], and the
//! answer is converted back.

mod agent;
pub(crate) mod dial;
mod error;
mod evidence;
mod experiment;
pub mod listen;
mod scheduler;
pub mod session;
mod status;

pub use agent::Agents;
pub use error::{RemoteError, status_of};
pub use scheduler::Experiments;

/// An experiment larger than this is refused, in bytes on the wire.
pub const MAX_REQUEST: usize = 1 << 20;

/// A message of an agent may be so large: the evidence of a plan, with the stacks of all its faults.
pub const MAX_REPORT: usize = 16 << 20;

/// A client should accept answers up to this size: a list has up to 512 experiments.
pub const MAX_ANSWER: usize = 64 << 20;

/// The messages and services as generated from `proto/kchaos/v1`.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    missing_docs,
    missing_debug_implementations,
    unused_qualifications,
    unreachable_pub,
    let_underscore_drop,
    reason = "generated"
)]
pub mod proto {
    tonic::include_proto!("kchaos.v1");
}

/// A message that no scheduler or agent of this version sends.
#[derive(Debug, thiserror::Error)]
#[error("{message}: {problem}")]
pub struct Malformed {
    message: &'static str,
    problem: String,
}

impl Malformed {
    fn new(message: &'static str, problem: impl Into<String>) -> Self {
        Self {
            message,
            problem: problem.into(),
        }
    }
}
