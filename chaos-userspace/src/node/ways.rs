//! Which mechanisms work here, and what is loaded for them.

use std::collections::HashMap;

use super::NodeError;
use crate::{
    engine::{Calls, Hooks, Object, Plane, RuleNumber},
    experiment::{Fault, FaultKind, Mechanism},
    fault,
    journal::Journal,
    pause::Pauser,
    support,
};

/// How a fault is done with BPF.
pub(super) type Way = (Object, Mechanism);

/// The plane with the programs that ask it; only as long as a plan needs them.
#[derive(Debug)]
pub(super) struct Ways {
    max_rules: u32,
    /// For what the kernel does not undo by itself.
    journal: Journal,
    /// Made when it is first needed.
    plane: Option<Plane>,
    hooks: HashMap<Way, Hooks>,
    /// Runs while a plan needs it.
    pauser: Option<Pauser>,
    /// Ways that have passed their self-test, and why others have not.
    probed: HashMap<Way, Result<(), String>>,
}

impl Ways {
    /// Loads nothing yet.
    pub(super) fn new(max_rules: u32, journal: Journal) -> Self {
        Self {
            max_rules,
            journal,
            plane: None,
            hooks: HashMap::new(),
            pauser: None,
            probed: HashMap::new(),
        }
    }

    /// The plane, if anything is loaded.
    pub(super) fn plane(&self) -> Option<&Plane> {
        self.plane.as_ref()
    }

    /// The same, to read events from.
    pub(super) fn plane_mut(&mut self) -> Option<&mut Plane> {
        self.plane.as_mut()
    }

    /// A way that was picked, with the plane.
    pub(super) fn get(&mut self, way: Way) -> Result<(&mut Plane, &mut Hooks), NodeError> {
        match (&mut self.plane, self.hooks.get_mut(&way)) {
            (Some(plane), Some(hooks)) => Ok((plane, hooks)),
            _ => Err(lost(way)),
        }
    }

    /// The first mechanism of the fault's ladder that works here, loaded.
    pub(super) fn pick(&mut self, fault: &Fault, object: Object) -> Result<Way, NodeError> {
        let ladder = fault::ladder(&fault.kind);
        let asked = fault.common.mechanism;
        let mut reasons = Vec::new();
        for mechanism in ladder.iter().copied() {
            if asked.is_some_and(|asked| asked != mechanism) {
                continue;
            }
            match self.ready((object, mechanism), &fault.kind) {
                Ok(()) => return Ok((object, mechanism)),
                Err(reason) => reasons.push(format!("  {mechanism}: {reason}")),
            }
        }
        let mut text = format!(
            "fault {}: this node can't do {}:\n{}",
            fault.id,
            fault.kind.name(),
            reasons.join("\n")
        );
        if asked.is_some() && ladder.len() > 1 {
            let others: Vec<&str> = ladder
                .iter()
                .filter(|other| Some(**other) != asked)
                .filter(|other| self.ready((object, **other), &fault.kind).is_ok())
                .map(|other| other.name())
                .collect();
            self.drop_idle();
            if !others.is_empty() {
                text.push_str("\n  would work here: mechanism=");
                text.push_str(&others.join(", "));
            }
        }
        Err(NodeError::Unsupported(text))
    }

    /// What a way that was picked for a fault leaves out of its classes of calls, for people.
    pub(super) fn left_out(&self, way: Way, kind: &FaultKind) -> Option<String> {
        let missing = self.hooks.get(&way)?.missing(&fault::calls(kind)?);
        if missing.is_empty() {
            return None;
        }
        let names: Vec<&str> = missing.iter().map(|call| call.name()).collect();
        Some(super::by_here(way.1) + &names.join(", "))
    }

    /// Loads a way, and tries it out the first time. What is attached for single system calls
    /// stays until a rule has come to need it.
    fn ready(&mut self, way: Way, kind: &FaultKind) -> Result<(), String> {
        fault::covers(kind, way.1)?;
        self.loaded(way)?;
        if fault::sleeps(kind) {
            self.keep_pausing()?;
        }
        let calls = fault::calls(kind);
        if let Some(calls) = &calls {
            self.is_alone(way, calls)?;
        }
        match (calls, self.hooks.get_mut(&way)) {
            (Some(calls), Some(hooks)) => hooks
                .prepare(&calls)
                .map_err(|error| support::explain(way.1, &error)),
            _ => Ok(()),
        }
    }

    /// Where a kernel has both, a `fmod_ret` program's trampoline calls the function itself, whatever
    /// a kprobe has made of the way back (`arch/x86/net/bpf_jit_comp.c`; seen on 6.12): the
    /// kprobe's fault would count, and hit nobody.
    fn is_alone(&self, (object, mechanism): Way, calls: &Calls) -> Result<(), String> {
        let rival = match mechanism {
            Mechanism::KprobeOverride => Mechanism::FmodRetSyscall,
            Mechanism::FmodRetSyscall => Mechanism::KprobeOverride,
            _ => return Ok(()),
        };
        let hooks = |mechanism| self.hooks.get(&(object, mechanism));
        let shared = hooks(mechanism)
            .zip(hooks(rival))
            .and_then(|(ours, theirs)| ours.shared(calls, theirs));
        shared.map_or(Ok(()), |function| {
            Err(format!(
                "a fault by {rival} has {function}, and only one of the two can be hit there"
            ))
        })
    }

    fn loaded(&mut self, way: Way) -> Result<(), String> {
        if self.hooks.contains_key(&way) {
            return Ok(());
        }
        if let Some(Err(reason)) = self.probed.get(&way) {
            return Err(reason.clone());
        }
        match self.load(way) {
            Ok(mut hooks) => {
                hooks.keep_journal(&self.journal);
                self.probed.insert(way, Ok(()));
                self.hooks.insert(way, hooks);
                Ok(())
            }
            Err(reason) => {
                self.probed.insert(way, Err(reason.clone()));
                Err(reason)
            }
        }
    }

    /// Starts the process that has threads sleep, if there is none.
    fn keep_pausing(&mut self) -> Result<(), String> {
        if self.pauser.as_mut().is_some_and(Pauser::is_alive) {
            return Ok(());
        }
        let Some(plane) = &self.plane else {
            return Ok(());
        };
        let maps = plane.pause_maps().map_err(|error| error.to_string())?;
        self.pauser = Some(Pauser::start(&maps)?);
        Ok(())
    }

    /// Starts another one when it was killed.
    pub(super) fn replace_pauser(&mut self) {
        if self.pauser.is_some()
            && let Err(reason) = self.keep_pausing()
        {
            tracing::warn!(reason, "threads wait for 5 ms at most now");
        }
    }

    fn load(&mut self, way: Way) -> Result<Hooks, String> {
        support::may_probe(way.1).map_err(|missing| missing.reason)?;
        let plane = match &mut self.plane {
            Some(plane) => plane,
            none => none.insert(Plane::create(self.max_rules).map_err(|error| error.to_string())?),
        };
        if self.probed.contains_key(&way) {
            return Hooks::load(plane, way.0, way.1).map_err(|error| error.to_string());
        }
        support::probe(plane, way.0, way.1).map_err(|missing| missing.reason)
    }

    /// [`Hooks::missed`]
    pub(super) fn missed(&self, way: Way, rule: RuleNumber) -> u64 {
        self.hooks.get(&way).map_or(0, |hooks| hooks.missed(rule))
    }

    /// Takes a rule out of the kernel.
    pub(super) fn remove(&mut self, way: Way, rule: RuleNumber) {
        if let Ok((plane, hooks)) = self.get(way) {
            hooks.remove(plane, rule);
        }
    }

    /// Programs that no plan needs cost every process of the machine a look, so they go.
    pub(super) fn drop_idle(&mut self) {
        self.hooks.retain(|_, hooks| {
            hooks.drop_unused();
            !hooks.is_idle()
        });
        if self.hooks.is_empty() {
            // It has let everybody go before the programs are gone that know their calls again.
            self.pauser = None;
            self.plane = None;
        }
    }
}

/// What a plan needs is not loaded any more, which can't be.
pub(super) fn lost(way: Way) -> NodeError {
    NodeError::Kernel(format!("the programs for {} are gone", way.0.name()))
}
