//! One experiment and its state.

use std::time::{Duration, Instant, SystemTime};

use super::{
    Now, Outcome, Phase,
    outcome::{judge, look},
};
use crate::{
    experiment::Experiment,
    node::{Plan, PlanStatus},
};

#[derive(Debug)]
pub(super) struct Entry {
    /// Also the identity of its plan.
    pub(super) id: String,
    /// Each fault has a target and a duration.
    pub(super) experiment: Experiment,
    pub(super) node: String,
    pub(super) state: State,
    /// The last report.
    pub(super) plan: Option<PlanStatus>,
    /// When that came.
    pub(super) reported_at: Option<SystemTime>,
    /// Which checks have held at some report, by their place.
    held: Vec<bool>,
    pub(super) accepted_at: SystemTime,
    pub(super) seed: u64,
    /// Larger than that of any earlier change of any experiment.
    pub(super) revision: u64,
}

#[derive(Debug)]
pub(super) enum State {
    Accepted {
        since: Instant,
    },
    Armed {
        /// The last fault's deadline.
        ends_by: Instant,
    },
    Ending {
        since: Instant,
        /// Why it ends early; `None` when it ran to its end.
        why: Option<String>,
    },
    Ended {
        at: SystemTime,
        outcome: Outcome,
        reason: Option<String>,
    },
}

impl Entry {
    /// Draws nothing and sends nothing: identity and seed come from the caller.
    pub(super) fn new(
        now: Now,
        id: String,
        mut experiment: Experiment,
        node: String,
        drawn: u64,
    ) -> Self {
        let seed = *experiment.seed.get_or_insert(drawn);
        for fault in &mut experiment.faults {
            if fault.target.is_none() {
                fault.target.clone_from(&experiment.target);
            }
            fault.common.duration = fault.common.duration.or(experiment.duration);
        }
        Self {
            id,
            experiment,
            node,
            state: State::Accepted { since: now.steady },
            plan: None,
            reported_at: None,
            held: Vec::new(),
            accepted_at: now.wall,
            seed,
            revision: 0,
        }
    }

    pub(super) fn plan(&self) -> Plan {
        Plan {
            id: self.id.clone(),
            experiment: self.experiment.clone(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Accepted { .. } => Phase::Accepted,
            State::Armed { .. } => Phase::Armed,
            State::Ending { .. } => Phase::Ending,
            State::Ended { .. } => Phase::Ended,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.phase() != Phase::Ended
    }

    /// Its node reports the plan as live. Whether the node is to end it.
    pub(super) fn reported(&mut self, now: Now, status: PlanStatus) -> bool {
        let over = status
            .faults
            .iter()
            .all(|fault| fault.remaining.is_zero() || fault.ended.is_some());
        match self.state {
            State::Accepted { .. } => {
                self.state = State::Armed {
                    ends_by: now.steady + self.lifetime(),
                };
            }
            State::Armed { .. } | State::Ending { .. } | State::Ended { .. } => {}
        }
        self.keep(now, status);
        let ends = over && matches!(self.state, State::Armed { .. });
        if ends {
            self.end(now, None);
        }
        ends
    }

    fn keep(&mut self, now: Now, status: PlanStatus) {
        look(&self.experiment, &status, &mut self.held);
        self.plan = Some(status);
        self.reported_at = Some(now.wall);
    }

    /// From now on it is being ended; `why` when that is early.
    pub(super) fn end(&mut self, now: Now, why: Option<String>) {
        self.state = State::Ending {
            since: now.steady,
            why,
        };
    }

    /// Its node says that the plan is over, by itself when there is a reason.
    pub(super) fn ended(&mut self, now: Now, status: Option<PlanStatus>, reason: Option<String>) {
        if let Some(status) = status {
            self.keep(now, status);
        }
        let why = match &mut self.state {
            State::Ended { .. } => return,
            State::Ending { why, .. } => why.take(),
            State::Accepted { .. } | State::Armed { .. } => {
                Some(reason.unwrap_or_else(|| "its node ended it".to_owned()))
            }
        };
        self.finish(now, why);
    }

    /// Over; `why` when it proves nothing, else the counters decide.
    pub(super) fn finish(&mut self, now: Now, why: Option<String>) {
        let (outcome, reason) = match why {
            Some(why) => (Outcome::Inconclusive, Some(why)),
            None => judge(&self.experiment, self.plan.as_ref(), &self.held),
        };
        self.state = State::Ended {
            at: now.wall,
            outcome,
            reason,
        };
    }

    /// From arming to the last deadline.
    fn lifetime(&self) -> Duration {
        self.experiment
            .faults
            .iter()
            .map(|fault| {
                let after = fault.common.after.unwrap_or_default();
                after.saturating_add(fault.common.duration.unwrap_or_default())
            })
            .max()
            .unwrap_or_default()
    }
}
