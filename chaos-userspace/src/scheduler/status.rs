//! What is told about an experiment.

use std::{fmt, time::SystemTime};

use crate::node::PlanStatus;

/// One experiment and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentStatus {
    /// [`crate::experiment::Experiment::name`]
    pub name: String,
    /// Tells apart two experiments of one name, one after the other; also the identity of its plans.
    pub id: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// What it came to, once it has ended.
    pub outcome: Option<Outcome>,
    /// Why the outcome is not [`Outcome::Passed`].
    pub reason: Option<String>,
    /// When it was accepted.
    pub accepted_at: SystemTime,
    /// When it ended.
    pub ended_at: Option<SystemTime>,
    /// Seed of the faults that have none of their own.
    pub seed: u64,
    /// Each node that has a part in it.
    pub nodes: Vec<NodePart>,
}

/// An experiment on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePart {
    /// The node's name.
    pub node: String,
    /// Whether the scheduler hears from it now.
    pub connected: bool,
    /// The last report.
    pub plan: Option<PlanStatus>,
    /// When that came.
    pub reported_at: Option<SystemTime>,
}

/// Where an experiment is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Valid, and on its way to its node.
    Accepted,
    /// Armed on its node.
    Armed,
    /// Being ended on its node.
    Ending,
    /// Over, with an outcome.
    Ended,
}

impl Phase {
    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Armed => "armed",
            Self::Ending => "ending",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What an experiment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran to its end, and each fault hit something.
    Passed,
    /// A check failed.
    Failed,
    /// It proves nothing: a fault hit nothing, it ended early, or its node was lost.
    Inconclusive,
}

impl Outcome {
    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
