//! One node: resolves targets, picks mechanisms, and holds what is live in this kernel.
//!
//! Everything here is synchronous and may block for as long as the kernel takes; async callers use
//! a blocking thread. Dropping a [`Node`] ends everything that it holds.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use chaos_common::Decision;

use crate::{
    engine::Lateness,
    experiment::{Experiment, Mechanism},
    state::StateDir,
};

/// What one node is asked to do: the part of an experiment for that node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Unique on the node for as long as the plan lives; chosen by whoever sends it.
    pub id: String,
    /// Validated; every fault has a target and a duration.
    pub experiment: Experiment,
}

/// What became of one fault of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultStatus {
    /// [`crate::experiment::Fault::id`]
    pub fault: String,
    /// The fault as one shell word.
    pub word: String,
    /// The resolved target, for people: `cgroup /a/b`, `pid 17 (nginx)`.
    pub target: String,
    /// How it is done here.
    pub mechanism: Mechanism,
    /// What this mechanism can't see here, in words; empty when nothing is known.
    pub not_covered: Vec<String>,
    /// Until the fault's own deadline; zero once it has passed.
    pub remaining: Duration,
    /// Why the fault can hit nothing any more before its deadline, such as a cgroup that is gone.
    pub ended: Option<String>,
    /// What the kernel counted.
    pub counters: Counters,
    /// What has passed on the fault's hook since it was armed and could be counted for no rule, of
    /// this fault or another: rules beyond those that one event can meet, events without a buffer, and what
    /// anybody did while the kernel ran no program for it, as another thread was in the middle of it.
    pub uncounted: u64,
    /// How long after they were due packets came off the fault's link, as the kernel has measured; none where
    /// the fault delays no packet that leaves, or none has left yet.
    pub late: Option<Lateness>,
    /// What is known of single injections.
    pub trail: Trail,
}

impl FaultStatus {
    /// Calls of its classes that the mechanism leaves out here, joined by commas.
    pub fn left_out(&self) -> Option<&str> {
        let here = by_here(self.mechanism);
        let row = self.not_covered.iter();
        row.map(String::as_str)
            .find_map(|row| row.strip_prefix(here.as_str()))
    }
}

/// How the row of [`FaultStatus::not_covered`] begins that is about this kernel alone.
fn by_here(mechanism: Mechanism) -> String {
    format!("by {mechanism} here: ")
}

/// What is known of the single injections of a fault. The counters are the truth; this is a trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// The newest sampled injections, oldest first; at most [`Trail::EVENTS`].
    pub events: Vec<Sample>,
    /// How many have been sampled altogether.
    pub sampled: u64,
    /// How many of those of all faults of the node did not arrive.
    pub lost: u64,
    /// The ordinals of all injections, in the order of injection.
    pub ordinals: Vec<u64>,
    /// Some are missing in `ordinals`: there were more than are kept.
    pub truncated: bool,
}

impl Trail {
    /// So many events are kept of a fault.
    pub const EVENTS: usize = 128;
    /// So many of them, the newest, have their stacks: these are long, and all of it goes with every
    /// report.
    pub const STACKS: usize = 16;
}

/// One injection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Which of the fault's matching events it was, from 1.
    pub ordinal: u64,
    /// By the node's clock of the day, as it went when the event was read.
    pub at: SystemTime,
    /// The same in boot time, as the kernel's log has it.
    pub since_boot: Duration,
    /// Id of the cgroup of the task or of the socket: the inode of its directory.
    pub cgroup: u64,
    /// Whose it was, and what.
    pub subject: Subject,
    /// Where a task was in user space, the innermost frame first. Empty if the fault does not ask for
    /// it, the kernel could not tell, or the event is not among the newest [`Trail::STACKS`].
    pub stack: Vec<Frame>,
}

/// What was hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A task, by its numbers in the first pid namespace.
    Task {
        /// The process.
        pid: u32,
        /// The thread.
        tid: u32,
        /// The thread's name.
        comm: String,
        /// The system call that it was in, by its number; `None` when that could not be read.
        call: Option<u32>,
    },
    /// A packet.
    Packet {
        /// Its length.
        bytes: u32,
        /// Between whom it was; `None` if it was neither IPv4 nor IPv6.
        flow: Option<Flow>,
    },
    /// A connection, its own end as the source.
    Connection(Flow),
}

/// What the kernel counted for one fault, summed over its rules and CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events of the fault's hook in the target.
    pub considered: u64,
    /// Of these, events that passed the filters while the fault was live.
    pub matched: u64,
    /// Of these, events that were hit.
    pub injected: u64,
    /// Events that would have been hit, in shadow.
    pub would_inject: u64,
    /// Events that `times` let pass.
    pub over_budget: u64,
    /// Events after the deadline.
    pub expired: u64,
    /// Events that passed because something could not be read.
    pub error: u64,
}

impl Counters {
    /// Adds what was counted elsewhere for the same rule.
    pub fn add(&mut self, other: &chaos_common::Counters) {
        self.considered += other.considered();
        self.matched += other.matched();
        self.injected += other.of(Decision::Inject);
        self.would_inject += other.of(Decision::WouldInject);
        self.over_budget += other.of(Decision::OverBudget);
        self.expired += other.of(Decision::Expired);
        self.error += other.of(Decision::Error);
    }
}

/// The faults of one plan, in the order of the experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanStatus {
    /// [`Plan::id`]
    pub id: String,
    /// One per fault.
    pub faults: Vec<FaultStatus>,
}

/// What an agent needs of its node; [`Node`] is the real one, tests of the layers above use their own.
pub trait NodeControl: Send + fmt::Debug + 'static {
    /// Resolves, picks mechanisms and arms. On an error nothing is left behind.
    ///
    /// # Errors
    /// See [`NodeError`].
    fn apply(&mut self, plan: &Plan) -> Result<PlanStatus, NodeError>;

    /// Counters and state of a live plan.
    ///
    /// # Errors
    /// [`NodeError::UnknownPlan`].
    fn status(&mut self, id: &str) -> Result<PlanStatus, NodeError>;

    /// Ends a plan and returns its last counters. After it returns no event that starts later is hit.
    ///
    /// # Errors
    /// [`NodeError::UnknownPlan`].
    fn stop(&mut self, id: &str) -> Result<PlanStatus, NodeError>;
}

/// How a node behaves beyond its plans.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the journal and the switch that forbids faults are.
    pub state: StateDir,
    /// What the kernel does not end by itself ends when nothing was heard of this process for so
    /// long; at least [`MIN_LEASE`].
    pub lease: Duration,
    /// So many rules at a time, at most [`chaos_common::limits::RULES_MAX`].
    pub max_rules: u32,
}

/// No lease is shorter: a busy machine may keep a process waiting that long.
pub const MIN_LEASE: Duration = Duration::from_secs(1);

impl Default for Settings {
    fn default() -> Self {
        Self {
            state: StateDir::default(),
            lease: Duration::from_secs(5),
            max_rules: chaos_common::limits::RULES,
        }
    }
}

mod account;
mod clocks;
mod error;
mod flow;
mod live;
pub mod scratch;
mod stack;
mod trail;
mod ways;

pub use error::NodeError;
pub use flow::Flow;
pub use live::Node;
pub use stack::{Frame, Place};
