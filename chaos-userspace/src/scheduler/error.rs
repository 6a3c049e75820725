//! Why a scheduler did not do what it was asked to.

use std::time::Duration;

use crate::{
    experiment::{Violations, format_duration},
    node::NodeError,
};

/// Why a scheduler did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The experiment breaks rules.
    #[error("the experiment is not valid:\n{0}")]
    Invalid(Violations),
    /// A live experiment has that name.
    #[error("experiment '{0}' lives already; stop it first, or take another name")]
    NameTaken(String),
    /// Too many live experiments.
    #[error("{0} experiments live already, which is the limit; stop one first")]
    TooMany(usize),
    /// There is no experiment of that name.
    #[error("no experiment '{0}'")]
    UnknownExperiment(String),
    /// No node is connected.
    #[error("no node is connected: start kchaos-agent with --scheduler")]
    NoNode,
    /// The node that was named is not connected.
    #[error("node '{name}' is not connected; {}", connected(.known))]
    UnknownNode {
        /// The name that was given.
        name: String,
        /// The nodes that are connected.
        known: Vec<String>,
    },
    /// No node was named, and there are several.
    #[error("say which node; {}", connected(.0))]
    WhichNode(Vec<String>),
    /// The node refused the plan; nothing is armed.
    #[error("node '{node}': {source}")]
    Node {
        /// The node's name.
        node: String,
        /// Its answer.
        source: NodeError,
    },
    /// Another agent holds a session with this node's name.
    #[error("another agent is connected as node '{0}'; give one of them another --node")]
    NodeTaken(String),
    /// An agent introduced itself with something that is no name.
    #[error("'{0}' is not a node's name: say 1 to 253 letters, digits, '-', '_' or '.'")]
    BadNodeName(String),
    /// The experiment ended before it was armed.
    #[error("not armed: {0}")]
    NotArmed(String),
    /// The node did not confirm the end in time.
    #[error(
        "'{name}' is not confirmed as ended by node '{node}' after {}; \
         the node ends it by itself when it has lost contact",
        format_duration(*.after)
    )]
    NotConfirmed {
        /// The experiment's name.
        name: String,
        /// The node's name.
        node: String,
        /// For so long it was waited for.
        after: Duration,
    },
    /// The scheduler is on its way out.
    #[error("the scheduler is stopping")]
    Closing,
}

fn connected(nodes: &[String]) -> String {
    match nodes {
        [] => "no node is".to_owned(),
        nodes => format!("connected: {}", nodes.join(", ")),
    }
}

/// The exit status of a command line whose request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitClass {
    /// Something failed: 1.
    Failed,
    /// Bad input: 2.
    BadInput,
    /// The node can't do it: 3.
    Unsupported,
}

impl ExitClass {
    /// The exit status.
    pub const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::BadInput => 2,
            Self::Unsupported => 3,
        }
    }
}

impl Error {
    /// The exit status that this means for a command line.
    pub const fn class(&self) -> ExitClass {
        match self {
            Self::Node { source, .. } => source.class(),
            Self::Invalid(_)
            | Self::NameTaken(_)
            | Self::UnknownExperiment(_)
            | Self::UnknownNode { .. }
            | Self::WhichNode(_)
            | Self::BadNodeName(_)
            | Self::NodeTaken(_) => ExitClass::BadInput,
            Self::TooMany(_)
            | Self::NoNode
            | Self::NotArmed(_)
            | Self::NotConfirmed { .. }
            | Self::Closing => ExitClass::Failed,
        }
    }
}

impl NodeError {
    /// The exit status that this means for a command line.
    pub const fn class(&self) -> ExitClass {
        match self {
            Self::BadPlan { .. } | Self::UnknownPlan(_) => ExitClass::BadInput,
            Self::Unsupported(_) => ExitClass::Unsupported,
            Self::Kernel(_) => ExitClass::Failed,
        }
    }
}
