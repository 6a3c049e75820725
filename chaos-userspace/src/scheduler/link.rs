//! What a scheduler and a node say to each other, however they are connected.

use tokio::sync::mpsc::UnboundedReceiver;

use super::Scheduler;
use crate::node::{NodeError, Plan, PlanStatus};

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The node's name.
    pub node: String,
    /// The agent's version.
    pub version: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Drawn when the agent starts: a new session of the same instance replaces the old one.
    pub instance: String,
    /// Plans of this scheduler that live on the node, or whose end has not been reported yet.
    pub live_plans: Vec<String>,
}

/// From the scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToNode {
    /// Arm this plan.
    Apply(Plan),
    /// End this plan.
    Stop {
        /// [`Plan::id`]
        plan: String,
    },
}

/// From a node.
#[derive(Debug)]
pub enum FromNode {
    /// A plan was armed, or lives on; its last counters.
    Live(PlanStatus),
    /// A plan has ended.
    Ended {
        /// [`Plan::id`]
        plan: String,
        /// Its last counters; `None` when the node knows no such plan.
        status: Option<PlanStatus>,
        /// Why the node ended it by itself; `None` when it was asked to.
        reason: Option<String>,
    },
    /// A plan was not armed.
    Refused {
        /// [`Plan::id`]
        plan: String,
        /// Why.
        error: NodeError,
    },
}

/// Identity of a session inside one scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SessionId(pub(super) u64);

/// A node's session with a scheduler, over when it is dropped.
#[derive(Debug)]
pub struct Link {
    pub(super) scheduler: Scheduler,
    pub(super) session: SessionId,
    pub(super) node: String,
    pub(super) orders: UnboundedReceiver<ToNode>,
}

impl Link {
    /// The node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The next order for the node; `None` when the session is over.
    pub async fn order(&mut self) -> Option<ToNode> {
        self.orders.recv().await
    }

    /// The node is still there.
    pub fn heard(&self) {
        self.scheduler.heard(self.session);
    }

    /// The node said something.
    pub fn tell(&self, message: FromNode) {
        self.scheduler.told(self.session, message);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.scheduler.detach(self.session);
    }
}
