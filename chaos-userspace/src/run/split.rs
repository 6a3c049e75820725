//! Which faults of a run are done by a seccomp filter, and which by the node.

use chaos_common::Hook;

use crate::{
    experiment::{Experiment, Fault, Mechanism, Syscall, Target},
    fault::{self, Timing},
    node::NodeError,
    seccomp::Spec,
    support,
};

/// An experiment, split by who does its faults.
#[derive(Debug)]
pub(super) struct Split {
    experiment: Experiment,
    /// By a fault's place: whether a filter does it.
    by_calls: Vec<bool>,
}

impl Split {
    /// Takes the first rung of each fault's ladder that works here.
    pub(super) fn of(experiment: Experiment) -> Result<Self, NodeError> {
        let by_calls = experiment
            .faults
            .iter()
            .enumerate()
            .map(|(index, fault)| by_calls(&experiment, index, fault))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            experiment,
            by_calls,
        })
    }

    /// The faults that a filter does, with their places.
    pub(super) fn calls(&self) -> impl Iterator<Item = (usize, &Fault)> {
        let faults = self.experiment.faults.iter().enumerate();
        faults.filter(|(index, _)| self.by_calls[*index])
    }

    /// Everything else, if there is anything.
    pub(super) fn rest(&self) -> Option<Experiment> {
        let mut rest = self.experiment.clone();
        let mut by_calls = self.by_calls.iter();
        rest.faults.retain(|_| by_calls.next() == Some(&false));
        (!rest.faults.is_empty()).then_some(rest)
    }

    /// The numbers of the calls that a filter has to ask about.
    pub(super) fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self
            .calls()
            .flat_map(|(_, fault)| call_numbers(fault))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// What they are compiled to, for a run that starts now.
    pub(super) fn specs(&self, timing: impl Fn(&Fault) -> Timing) -> Vec<Spec> {
        self.calls()
            .filter_map(|(index, fault)| {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                // Nothing here asks by hook: any does.
                let hook = Hook::FileOpenLsm;
                let spec = fault::compile(fault, hook, index, 0, &timing(fault))?;
                Some((spec, call_numbers(fault)))
            })
            .collect()
    }

    /// Puts what the two have told of their faults in the experiment's order.
    pub(super) fn merge<T>(&self, calls: Vec<T>, rest: Vec<T>) -> Vec<T> {
        let (mut calls, mut rest) = (calls.into_iter(), rest.into_iter());
        self.by_calls
            .iter()
            .filter_map(|by_calls| if *by_calls { calls.next() } else { rest.next() })
            .collect()
    }

    /// Whether a filter could do a fault of the command that is to be done by something else.
    pub(super) fn has_alternative(&self) -> bool {
        let Experiment { faults, target, .. } = &self.experiment;
        faults.iter().zip(&self.by_calls).any(|(fault, by_calls)| {
            let target = fault.target.as_ref().or(target.as_ref());
            !by_calls
                && matches!(target, None | Some(Target::Command(_)))
                && fault::ladder(&fault.kind).contains(&Mechanism::SeccompNotify)
        })
    }

    /// All of it.
    pub(super) fn experiment(&self) -> &Experiment {
        &self.experiment
    }
}

fn by_calls(experiment: &Experiment, index: usize, fault: &Fault) -> Result<bool, NodeError> {
    if !fault::ladder(&fault.kind).contains(&Mechanism::SeccompNotify) {
        return Ok(false);
    }
    let asked = fault.common.mechanism;
    let target = fault.target.as_ref().or(experiment.target.as_ref());
    let is_command = matches!(target, None | Some(Target::Command(_)));
    let bad = |key: &str, problem: &str| {
        Err(NodeError::BadPlan {
            field: format!("spec.faults[{index}].{key}"),
            problem: problem.to_owned(),
        })
    };
    match asked {
        Some(Mechanism::SeccompNotify) if !is_command => {
            return bad(
                "mechanism",
                "seccomp-notify works only for COMMAND: leave the fault's target out, or the \
                 mechanism",
            );
        }
        Some(Mechanism::SeccompNotify) => {}
        Some(_) => return Ok(false),
        None if !is_command || can_bpf(fault) => return Ok(false),
        None => {}
    }
    let block = fault.kind.block();
    // Where it was asked for, something else may work as well.
    let who = if asked.is_some() {
        "seccomp-notify"
    } else {
        "seccomp-notify, which is what works here,"
    };
    if let Err(reason) = fault::call_filter::answers(&fault.kind, Mechanism::SeccompNotify) {
        return bad(&format!("{block}.path"), &format!("{who} {reason}"));
    }
    if !fault.common.exclude.is_empty() {
        return bad(
            &format!("{block}.exclude"),
            &format!("{who} knows no cgroups: leave it out"),
        );
    }
    if fault.common.stack {
        return bad(
            &format!("{block}.stack"),
            &format!("{who} reads no stacks: leave it out"),
        );
    }
    Ok(true)
}

/// Whether the node can do a fault here, on a rung above seccomp-notify. Without the capabilities to
/// try it out it can't.
fn can_bpf(fault: &Fault) -> bool {
    fault::ladder(&fault.kind)
        .iter()
        .take_while(|rung| **rung != Mechanism::SeccompNotify)
        .any(|rung| support::try_out(&fault.kind, *rung).is_ok())
}

fn call_numbers(fault: &Fault) -> Vec<u32> {
    let calls = fault::calls(&fault.kind).unwrap_or_default().all;
    Syscall::all()
        .map(Syscall::number)
        .filter(|number| calls.contains((*number).into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::COMMANDS_LIFE, *};

    fn experiment(words: &[&str]) -> Experiment {
        Experiment {
            name: "run".to_owned(),
            target: None,
            duration: None,
            seed: None,
            faults: words
                .iter()
                .map(|text| crate::experiment::word::parse(text).unwrap())
                .collect(),
            checks: Vec::new(),
        }
    }

    #[test]
    fn each_fault_is_done_once_and_told_in_its_place() {
        let split = Split::of(experiment(&[
            "syscall.error:fsync+read=EIO,mechanism=seccomp-notify",
            "net.loss=1%,direction=ingress",
            "syscall.error:fsync=EIO,mechanism=lsm",
            "syscall.error:write+fsync=EIO,mechanism=seccomp-notify",
        ]))
        .unwrap();
        let places: Vec<usize> = split.calls().map(|(index, _)| index).collect();
        assert_eq!(places, [0, 3]);
        assert_eq!(split.numbers(), [0, 1, 74]);
        assert_eq!(split.rest().map(|rest| rest.faults.len()), Some(2));
        assert_eq!(split.merge(vec![1, 4], vec![2, 3]), [1, 2, 3, 4]);
        let specs = split.specs(|_| Timing {
            now_ns: 1,
            duration: COMMANDS_LIFE,
            seed: 7,
        });
        let identities: Vec<u32> = specs.iter().map(|(spec, _)| spec.config.identity).collect();
        assert_eq!(identities, [0, 3]);
    }

    #[test]
    fn what_a_filter_cannot_do_is_refused() {
        let word = "syscall.error:fsync=EIO,mechanism=seccomp-notify";
        let mut other = experiment(&[word]);
        other.target = Some(Target::Cgroup("/a".to_owned()));
        let without = experiment(&[&format!("{word},exclude=/a")]);
        let stack = experiment(&[&format!("{word},stack=true")]);
        for (experiment, reason) in [
            (other, "only for COMMAND"),
            (without, "knows no cgroups"),
            (stack, "reads no stacks"),
        ] {
            let said = Split::of(experiment).unwrap_err().to_string();
            assert!(said.contains(reason), "{said}");
        }
    }

    #[test]
    fn a_run_without_calls_has_no_filter() {
        let split = Split::of(experiment(&["net.loss=1%,direction=ingress"])).unwrap();
        assert!(split.numbers().is_empty());
        assert!(split.rest().is_some());
    }
}
