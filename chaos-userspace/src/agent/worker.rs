//! The plans of one scheduler on a node.

use std::{collections::BTreeSet, time::Duration};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::SharedNode;
use crate::{
    node::{NodeError, Plan},
    scheduler::{FromNode, ToNode},
    state::StateDir,
};

/// How often it is looked whether faults are still allowed.
const LOOK: Duration = Duration::from_millis(250);

/// What a worker is asked for.
#[derive(Debug)]
pub(super) enum Order {
    /// By its scheduler.
    Scheduler(ToNode),
    /// By the agent itself.
    EndAll {
        /// Why.
        reason: String,
    },
}

/// A worker that runs; once its orders are closed it ends its plans and is done.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) orders: UnboundedSender<Order>,
    pub(super) events: UnboundedReceiver<FromNode>,
    pub(super) task: JoinHandle<()>,
}

/// Starts a worker that reports each live plan `every` so often, and each change at once.
pub(super) fn spawn(node: SharedNode, every: Duration, state: StateDir) -> Worker {
    let (orders, orders_in) = unbounded_channel();
    let (events_out, events) = unbounded_channel();
    let plans = Plans {
        node,
        state,
        live: BTreeSet::new(),
        events: events_out,
    };
    Worker {
        orders,
        events,
        task: tokio::spawn(plans.work(orders_in, every)),
    }
}

struct Plans {
    node: SharedNode,
    state: StateDir,
    live: BTreeSet<String>,
    events: UnboundedSender<FromNode>,
}

impl Plans {
    async fn work(mut self, mut orders: UnboundedReceiver<Order>, every: Duration) {
        let mut reports = interval(every);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Scheduler(ToNode::Apply(plan))) => self.apply(plan).await,
                    Some(Order::Scheduler(ToNode::Stop { plan })) => self.stop(plan, None).await,
                    Some(Order::EndAll { reason }) => self.end_all(&reason).await,
                    None => return self.end_all("its agent has stopped").await,
                },
                _ = reports.tick(), if !self.live.is_empty() => self.report().await,
                _ = looks.tick(), if !self.live.is_empty() => self.obey_switch().await,
            }
        }
    }

    async fn apply(&mut self, plan: Plan) {
        let id = plan.id.clone();
        tracing::info!(plan = id, faults = plan.experiment.faults.len(), "arming");
        tracing::debug!(?plan);
        match self.node.call(move |node| node.apply(&plan)).await {
            Ok(status) => {
                for fault in &status.faults {
                    tracing::info!(
                        plan = id,
                        fault = fault.fault,
                        mechanism = %fault.mechanism,
                        target = fault.target,
                        "armed"
                    );
                }
                self.live.insert(id);
                self.tell(FromNode::Live(status));
            }
            Err(error) => {
                tracing::warn!(plan = id, %error, "not armed");
                self.tell(FromNode::Refused { plan: id, error });
            }
        }
    }

    /// `reason` when nobody asked for it.
    async fn stop(&mut self, plan: String, reason: Option<String>) {
        // Schedulers end only what is theirs.
        let status = if self.live.remove(&plan) {
            let id = plan.clone();
            match self.node.call(move |node| node.stop(&id)).await {
                Ok(status) => Some(status),
                Err(NodeError::UnknownPlan(_)) => None,
                Err(error) => {
                    tracing::error!(plan, %error, "not ended cleanly");
                    None
                }
            }
        } else {
            None
        };
        tracing::info!(plan, reason, "ended");
        self.tell(FromNode::Ended {
            plan,
            status,
            reason,
        });
    }

    async fn end_all(&mut self, reason: &str) {
        while let Some(plan) = self.live.first().cloned() {
            self.stop(plan, Some(reason.to_owned())).await;
        }
    }

    /// Ends everything while faults are forbidden on this machine.
    async fn obey_switch(&mut self) {
        if let Some(file) = self.state.disabled() {
            let reason = format!("{} forbids faults on this machine", file.display());
            self.end_all(&reason).await;
        }
    }

    async fn report(&mut self) {
        for plan in self.live.clone() {
            let id = plan.clone();
            match self.node.call(move |node| node.status(&id)).await {
                Ok(status) => self.tell(FromNode::Live(status)),
                Err(error @ NodeError::UnknownPlan(_)) => {
                    self.live.remove(&plan);
                    self.tell(FromNode::Ended {
                        plan,
                        status: None,
                        reason: Some(error.to_string()),
                    });
                }
                Err(error) => tracing::warn!(plan, %error, "no counters"),
            }
        }
    }

    fn tell(&self, event: FromNode) {
        if self.events.send(event).is_err() {
            tracing::debug!("nobody listens to the worker any more");
        }
    }
}
