//! What an experiment that ran to its end came to.

use super::Outcome;
use crate::{
    experiment::{Check, Counter, Experiment, Fault, Moment},
    node::{Counters, FaultStatus, PlanStatus},
};

/// Failed when a check did not hold; else passed only when each fault is known to have hit something
/// until its end. `held` is which checks have held at some report, by their place.
pub(super) fn judge(
    experiment: &Experiment,
    last: Option<&PlanStatus>,
    held: &[bool],
) -> (Outcome, Option<String>) {
    let Some(last) = last else {
        return (
            Outcome::Inconclusive,
            Some("no counters came back".to_owned()),
        );
    };
    let doubts: Vec<String> = experiment
        .faults
        .iter()
        .filter_map(|fault| {
            let status = last.faults.iter().find(|status| status.fault == fault.id);
            doubt(fault, status).map(|doubt| format!("fault '{}' {doubt}", fault.id))
        })
        .collect();
    // What ended early was not counted to its end, so that no check of it says anything.
    let failed: Vec<String> = experiment
        .checks
        .iter()
        .zip(held)
        .filter_map(|(check, held)| failure(check, counted(check, last)?, *held))
        .collect();
    if !failed.is_empty() {
        (Outcome::Failed, Some(failed.join("; ")))
    } else if doubts.is_empty() {
        (Outcome::Passed, None)
    } else {
        (Outcome::Inconclusive, Some(doubts.join("; ")))
    }
}

/// Which checks hold now, added to those that have held before.
pub(super) fn look(experiment: &Experiment, status: &PlanStatus, held: &mut Vec<bool>) {
    held.resize(experiment.checks.len(), false);
    for (check, held) in experiment.checks.iter().zip(held) {
        *held |= counted(check, status).is_some_and(|counters| holds(check, counters));
    }
}

/// The counters that a check is about, of a fault that was live until its end.
fn counted(check: &Check, status: &PlanStatus) -> Option<Counters> {
    let mut faults = status.faults.iter();
    let fault = faults.find(|fault| fault.fault == check.fault && fault.ended.is_none())?;
    Some(fault.counters)
}

fn holds(check: &Check, counters: Counters) -> bool {
    check.pass.holds(measured(check.field, counters))
}

const fn measured(field: Counter, counters: Counters) -> u64 {
    match field {
        Counter::Considered => counters.considered,
        Counter::Matched => counters.matched,
        Counter::Injected => counters.injected,
        Counter::WouldInject => counters.would_inject,
        Counter::OverBudget => counters.over_budget,
        Counter::Error => counters.error,
    }
}

fn failure(check: &Check, last: Counters, held: bool) -> Option<String> {
    let passed = check.at.iter().all(|moment| match moment {
        Moment::During => held,
        Moment::After => holds(check, last),
    });
    (!passed).then(|| {
        format!(
            "check '{}' failed: {} of fault '{}' is {}, not {}",
            check.id,
            check.field,
            check.fault,
            measured(check.field, last),
            check.pass
        )
    })
}

/// Why this fault proves nothing.
fn doubt(fault: &Fault, status: Option<&FaultStatus>) -> Option<String> {
    let Some(status) = status else {
        return Some("was not reported".to_owned());
    };
    if let Some(why) = &status.ended {
        return Some(format!("ended early: {why}"));
    }
    let counters = status.counters;
    let (hits, verb) = if fault.common.shadow {
        (counters.would_inject, "would have hit")
    } else {
        (counters.injected, "hit")
    };
    if hits > 0 {
        None
    } else if counters.considered == 0 {
        Some(format!(
            "{verb} nothing: no event of its kind in the target"
        ))
    } else if counters.matched == 0 {
        Some(format!(
            "{verb} nothing: {} events in the target, none matched",
            counters.considered
        ))
    } else {
        Some(format!(
            "{verb} nothing: {} events matched, none was chosen",
            counters.matched
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::experiment::{Bound, Common, FaultKind, Mechanism, NetLoss, Share, Target, Traffic};

    fn experiment(shadow: bool) -> Experiment {
        Experiment {
            name: "e".into(),
            target: Some(Target::Cgroup("/a".into())),
            duration: Some(Duration::from_secs(1)),
            seed: None,
            faults: vec![Fault {
                id: "loss".into(),
                target: None,
                kind: FaultKind::NetLoss(NetLoss {
                    share: Share::ALL,
                    traffic: Traffic::default(),
                }),
                common: Common {
                    shadow,
                    ..Common::default()
                },
            }],
            checks: Vec::new(),
        }
    }

    fn status(counters: Counters, ended: Option<&str>) -> PlanStatus {
        PlanStatus {
            id: "p".into(),
            faults: vec![FaultStatus {
                fault: "loss".into(),
                word: String::new(),
                target: String::new(),
                mechanism: Mechanism::CgroupSkb,
                not_covered: Vec::new(),
                remaining: Duration::ZERO,
                ended: ended.map(Into::into),
                counters,
                uncounted: 0,
                late: None,
                trail: crate::node::Trail::default(),
            }],
        }
    }

    fn counts(considered: u64, matched: u64, injected: u64, would_inject: u64) -> Counters {
        Counters {
            considered,
            matched,
            injected,
            would_inject,
            ..Counters::default()
        }
    }

    fn reason(shadow: bool, status: Option<&PlanStatus>) -> String {
        let (outcome, reason) = judge(&experiment(shadow), status, &[]);
        assert_eq!(outcome, Outcome::Inconclusive);
        reason.unwrap()
    }

    #[test]
    fn only_a_hit_passes() {
        let hit = status(counts(9, 3, 1, 0), None);
        assert_eq!(
            judge(&experiment(false), Some(&hit), &[]),
            (Outcome::Passed, None)
        );
        assert!(reason(true, Some(&hit)).contains("would have hit nothing"));
        let shadow = status(counts(9, 3, 0, 1), None);
        assert_eq!(
            judge(&experiment(true), Some(&shadow), &[]),
            (Outcome::Passed, None)
        );
        assert_eq!(
            reason(false, Some(&shadow)),
            "fault 'loss' hit nothing: 3 events matched, none was chosen"
        );
    }

    #[test]
    fn nothing_is_told_apart() {
        assert_eq!(
            reason(false, Some(&status(counts(0, 0, 0, 0), None))),
            "fault 'loss' hit nothing: no event of its kind in the target"
        );
        assert_eq!(
            reason(false, Some(&status(counts(9, 0, 0, 0), None))),
            "fault 'loss' hit nothing: 9 events in the target, none matched"
        );
        assert_eq!(reason(false, None), "no counters came back");
        let unreported = PlanStatus {
            id: "p".into(),
            faults: Vec::new(),
        };
        assert_eq!(
            reason(false, Some(&unreported)),
            "fault 'loss' was not reported"
        );
    }

    #[test]
    fn an_early_end_is_not_passed_even_after_hits() {
        let early = status(counts(9, 3, 1, 0), Some("its cgroup is gone"));
        assert_eq!(
            reason(false, Some(&early)),
            "fault 'loss' ended early: its cgroup is gone"
        );
    }

    /// Told the counters of two reports, one after the other.
    fn checked(
        field: Counter,
        pass: &str,
        at: &[Moment],
        ended: Option<&str>,
    ) -> (Outcome, String) {
        let mut experiment = experiment(false);
        experiment.checks = vec![Check {
            id: "c".into(),
            fault: "loss".into(),
            field,
            pass: pass.parse::<Bound>().unwrap(),
            at: at.to_vec(),
        }];
        let mut held = Vec::new();
        let last = status(counts(9, 3, 2, 0), ended);
        for status in [&status(counts(4, 1, 1, 0), None), &last] {
            look(&experiment, status, &mut held);
        }
        let (outcome, reason) = judge(&experiment, Some(&last), &held);
        (outcome, reason.unwrap_or_default())
    }

    #[test]
    fn a_check_that_does_not_hold_fails_the_experiment() {
        let passed = (Outcome::Passed, String::new());
        let after = [Moment::After];
        assert_eq!(checked(Counter::Injected, "== 2", &after, None), passed);
        assert_eq!(
            checked(Counter::Matched, "< 2", &[Moment::During], None),
            passed
        );
        assert_eq!(
            checked(Counter::Injected, "> 2", &after, None),
            (
                Outcome::Failed,
                "check 'c' failed: injected of fault 'loss' is 2, not > 2".to_owned()
            )
        );
        let both = checked(Counter::Matched, "< 2", &Moment::ALL, None);
        assert_eq!(both.0, Outcome::Failed);
    }

    #[test]
    fn what_ended_early_is_checked_by_nobody() {
        let (outcome, reason) = checked(Counter::Injected, "> 2", &[Moment::After], Some("gone"));
        assert_eq!(outcome, Outcome::Inconclusive, "{reason}");
    }
}
