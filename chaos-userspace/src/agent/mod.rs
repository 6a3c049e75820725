//! The agent: holds a node, carries out the plans of its schedulers, and ends them when it has to.
//!
//! Each scheduler, the agent's own and the one that it dials, has a [`worker`] with its own plans on
//! the one node that they share.

use std::time::Duration;

use crate::{boot, state::StateDir};

mod contact;
mod local;
mod shared;
mod worker;

pub use contact::{Contact, ContactError, dial};
pub use local::serve_local;
pub use shared::SharedNode;

/// How an agent behaves towards its schedulers.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name.
    pub node: String,
    /// When the scheduler is not heard of for so long, its plans end.
    pub contact_timeout: Duration,
    /// How often the counters of live plans are reported.
    pub report_every: Duration,
    /// How often the agent says something; three times this is silence.
    pub heartbeat: Duration,
    /// The first pause between two attempts to reach the scheduler; it doubles up to `max_backoff`.
    pub min_backoff: Duration,
    /// The longest pause between two attempts to reach the scheduler.
    pub max_backoff: Duration,
    /// Where the switch is that forbids faults on this machine.
    pub state: StateDir,
    /// What ends when the agent stops may take so long.
    pub stop_timeout: Duration,
}

impl Config {
    /// The defaults for a node of this name.
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            contact_timeout: Duration::from_mins(1),
            report_every: Duration::from_secs(1),
            heartbeat: Duration::from_secs(5),
            min_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(10),
            state: StateDir::default(),
            stop_timeout: Duration::from_secs(5),
        }
    }

    /// How this agent introduces itself.
    fn hello(&self, instance: &str, live_plans: Vec<String>) -> crate::scheduler::Hello {
        crate::scheduler::Hello {
            node: self.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: boot::id(),
            instance: instance.to_owned(),
            live_plans,
        }
    }
}
