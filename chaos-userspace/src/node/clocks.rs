//! Faults of clocks, as a node has them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Counters, NodeError, Settings, live::LiveFault};
use crate::{
    experiment::{Fault, Mechanism},
    fault::{self, Timing, clock},
    knob::KnobStatus,
    scheduler::draw,
    target::{CgroupTree, Resolved},
    vdso::tender::{Clocks, Pulse, Rule, Tended, TenderError, Whom},
};

/// What bends clocks, and what of it is live.
#[derive(Debug)]
pub(super) struct ClockFaults {
    clocks: Clocks,
    /// A child that waits before its exec.
    held: Option<u32>,
    /// What was known of each rule the last time: all that is left when who knew more has died.
    last: Mutex<HashMap<u64, Tended>>,
}

impl ClockFaults {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            clocks: Clocks::new(settings),
            held: None,
            last: Mutex::default(),
        }
    }

    pub(super) fn hold(&mut self, pid: u32) {
        self.held = Some(pid);
    }

    /// Starts what takes its time to start.
    pub(super) fn prepare(&mut self) -> Result<(), NodeError> {
        let started = self.clocks.start();
        started.map_err(|error| NodeError::Kernel(error.to_string()))
    }

    /// Bends clocks, now or when it is due, and returns the rule's id, and its deadline.
    pub(super) fn begin(
        &mut self,
        tree: &CgroupTree,
        fault: &Fault,
        live: &LiveFault,
        timing: &Timing,
    ) -> Result<(u64, u64), NodeError> {
        let cannot = |reason: &str| {
            NodeError::Unsupported(format!(
                "fault {}: this node can't do {}:\n  {}: {reason}",
                fault.id,
                fault.kind.name(),
                Mechanism::Vdso
            ))
        };
        let wanted = clock::wanted(&fault.kind, fault.common.times)
            .ok_or_else(|| cannot("it is about no clock"))?;
        let folder = |path: &str| tree.folder(path).to_string_lossy().into_owned();
        let target = match &live.target {
            Resolved::Cgroups(cgroups) => {
                Whom::Cgroups(cgroups.iter().map(|cgroup| folder(cgroup.path())).collect())
            }
            Resolved::Process(process) => Whom::Process(process.pid(), process.start_ticks()),
        };
        let (start_ns, deadline_ns) = fault::lifetime(fault, timing);
        let id = draw();
        let rule = Rule {
            id,
            target,
            excluded: live.excluded.iter().map(|it| folder(it.path())).collect(),
            wanted,
            start_ns,
            deadline_ns,
            pulse_ns: fault.common.pulse.map(|pulse| Pulse {
                active_ns: fault::nanoseconds(pulse.active),
                every_ns: fault::nanoseconds(pulse.every),
            }),
            held: self.held,
        };
        let tended = self.clocks.bend(rule).map_err(|error| match error {
            TenderError::Unsupported(reason) => cannot(&reason),
            TenderError::Lost(_) => NodeError::Kernel(error.to_string()),
        })?;
        let deadline_ns = tended.deadline_ns;
        self.last().insert(id, tended);
        Ok((id, deadline_ns))
    }

    /// How it goes.
    pub(super) fn status(&self, id: u64) -> KnobStatus {
        match self.look(id) {
            Ok(state) => told(&state),
            Err(error) => {
                let last = self.last().get(&id).map(told);
                KnobStatus {
                    ended: Some(format!(
                        "who bends clocks has died: they are true again, and nobody new is followed \
                         ({error})"
                    )),
                    ..last.unwrap_or_default()
                }
            }
        }
    }

    /// How many programs have run for a while before their clocks were bent.
    pub(super) fn late(&self, id: u64) -> u64 {
        let last = || self.last().get(&id).map_or(0, |state| state.late);
        self.look(id)
            .map_or_else(|_lost| last(), |state| state.late)
    }

    fn look(&self, id: u64) -> Result<Tended, TenderError> {
        let state = self.clocks.look(id)?;
        self.last().insert(id, state.clone());
        Ok(state)
    }

    fn last(&self) -> MutexGuard<'_, HashMap<u64, Tended>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&mut self, id: u64) {
        self.last().remove(&id);
        if let Err(error) = self.clocks.end(id) {
            tracing::error!(%error, "clocks are true again when their lease is over");
            self.clocks.bury();
        }
    }
}

fn told(state: &Tended) -> KnobStatus {
    KnobStatus {
        counters: Counters {
            considered: state.found,
            matched: state.patched,
            injected: state.bent,
            error: state.found.saturating_sub(state.patched),
            ..Counters::default()
        },
        ended: state.lapsed.then(|| {
            "kchaos did not run for longer than its lease, and clocks were true meanwhile"
                .to_owned()
        }),
    }
}
