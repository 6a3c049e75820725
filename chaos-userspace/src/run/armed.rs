//! The faults of a run, once they are armed: those of the node and those of a filter.

use std::{os::fd::OwnedFd, time::Duration};

use super::{COMMANDS_LIFE, plan, split::Split};
use crate::{
    boot,
    experiment::{Fault, Mechanism, format_duration, word},
    fault::{self, Timing},
    node::{FaultStatus, Node, NodeControl as _, NodeError, PlanStatus, Settings},
    seccomp::{self, Calls},
};

/// The id of the only plan that there is.
pub(super) const PLAN: &str = "run";

/// What is armed.
#[derive(Debug)]
pub(super) struct Armed {
    split: Split,
    node: Option<Node>,
    calls: Option<Calls>,
    /// Boot time at which the rules of `calls` started.
    start_ns: u64,
    lease: Duration,
    command: String,
    no_new_privs: bool,
}

/// A command that waits for its exec.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) pid: i32,
    pub(super) program: String,
    /// Of its filter, if it was to have one.
    pub(super) listener: Option<OwnedFd>,
    pub(super) no_new_privs: bool,
}

impl Armed {
    /// Arms everything: in this cgroup, if there are faults of the node, and on the calls of this
    /// command.
    pub(super) fn arm(
        split: Split,
        settings: Settings,
        cgroup: Option<&str>,
        waiting: Waiting,
    ) -> Result<Self, NodeError> {
        if let Some(file) = settings.state.disabled() {
            return Err(NodeError::Unsupported(format!(
                "{} forbids faults on this machine: remove it to allow them",
                file.display()
            )));
        }
        let lease = settings.lease;
        let mut armed = Self {
            node: None,
            calls: None,
            start_ns: 0,
            lease,
            command: waiting.program,
            no_new_privs: waiting.no_new_privs,
            split,
        };
        if let (Some(rest), Some(cgroup)) = (armed.split.rest(), cgroup) {
            let mut node = Node::new(settings)?;
            node.hold(waiting.pid.unsigned_abs());
            node.apply(&plan(rest, cgroup))?;
            armed.node = Some(node);
        }
        if let Some(listener) = waiting.listener {
            armed.start_ns = boot::time_ns();
            let specs = armed.split.specs(|fault| armed.timing(fault));
            let calls = Calls::arm(&specs, listener, waiting.pid, lease).map_err(|error| {
                NodeError::Kernel(format!("{}: {error}", Mechanism::SeccompNotify))
            })?;
            armed.calls = Some(calls);
        }
        Ok(armed)
    }

    /// To be called now and then while the command runs.
    pub(super) fn tend(&mut self) {
        if let Some(node) = &mut self.node {
            node.collect();
        }
        if let Some(calls) = &mut self.calls {
            calls.beat();
        }
    }

    /// Ends everything and says what came of it.
    pub(super) fn stop(&mut self) -> Result<PlanStatus, NodeError> {
        let rest = match &mut self.node {
            Some(node) => node.stop(PLAN)?.faults,
            None => Vec::new(),
        };
        if let Some(calls) = &mut self.calls {
            calls.end();
        }
        Ok(PlanStatus {
            id: PLAN.to_owned(),
            faults: self.split.merge(self.statuses(), rest),
        })
    }

    /// See [`super::Outcome::notice`].
    pub(super) fn notice(&self) -> Option<&'static str> {
        self.no_new_privs.then_some(seccomp::NO_NEW_PRIVS)
    }

    fn timing(&self, fault: &Fault) -> Timing {
        let experiment = self.split.experiment();
        Timing {
            now_ns: self.start_ns,
            duration: fault
                .common
                .duration
                .or(experiment.duration)
                .unwrap_or(COMMANDS_LIFE),
            seed: experiment.seed.unwrap_or(0),
        }
    }

    fn statuses(&self) -> Vec<FaultStatus> {
        let Some(calls) = &self.calls else {
            return Vec::new();
        };
        let now_ns = boot::time_ns();
        let status = |index: u32, fault: &Fault| {
            let (counters, trail) = calls.evidence(index);
            let deadline_ns = fault::lifetime(fault, &self.timing(fault)).1;
            FaultStatus {
                fault: fault.id.clone(),
                word: word::format(fault),
                target: format!("command {}", self.command),
                mechanism: Mechanism::SeccompNotify,
                not_covered: self.not_covered(fault),
                remaining: Duration::from_nanos(deadline_ns.saturating_sub(now_ns)),
                ended: calls.lapsed().then(|| {
                    let lease = format_duration(self.lease);
                    format!("kchaos did not run for longer than its lease of {lease}")
                }),
                counters,
                // Its guard asks every rule.
                uncounted: 0,
                late: None,
                trail,
            }
        };
        (0..)
            .zip(self.split.calls())
            .map(|(index, (_, fault))| status(index, fault))
            .collect()
    }

    fn not_covered(&self, fault: &Fault) -> Vec<String> {
        let mut rows = fault::not_covered(&fault.kind);
        rows.extend(self.notice().map(str::to_owned));
        rows
    }
}
