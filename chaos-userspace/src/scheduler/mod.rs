//! Experiments over their whole life: accepting, one plan per node, the end, and the outcome.
//!
//! [`Core`](core::Core) decides, without clock, threads or I/O; [`Scheduler`] shares it between the
//! sessions of nodes and the callers. Whatever a node is reached by, it is a [`Link`]: the agent's
//! own scheduler has its node in the same process, any other at the end of a gRPC stream.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime},
};

mod core;
mod draw;
mod entry;
mod error;
mod link;
mod outcome;
mod service;
mod status;

pub use draw::draw;
pub use error::{Error, ExitClass};
pub use link::{FromNode, Hello, Link, ToNode};
pub use service::Scheduler;
pub use status::{ExperimentStatus, NodePart, Outcome, Phase};

/// How long a scheduler waits, and how much it holds.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// A node that is not heard of for so long is lost, and with it its experiments.
    pub contact_timeout: Duration,
    /// A node has so long to arm a plan.
    pub arm_timeout: Duration,
    /// A node has so long to confirm the end of a plan.
    pub stop_timeout: Duration,
    /// How often each side of a session says something; three times this is silence.
    pub heartbeat: Duration,
    /// How often deadlines are looked at.
    pub tick: Duration,
    /// So many experiments may live at once.
    pub max_live: usize,
    /// So many that have ended are kept.
    pub max_ended: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            contact_timeout: Duration::from_mins(1),
            arm_timeout: Duration::from_mins(2),
            stop_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(5),
            tick: Duration::from_millis(250),
            max_live: 256,
            max_ended: 256,
        }
    }
}

/// One moment, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines.
    pub steady: Instant,
    /// For people.
    pub wall: SystemTime,
}

/// Where the time comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Now;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }
}
