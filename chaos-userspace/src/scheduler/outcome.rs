//! What an experiment that ran to its end came to.

use super::Outcome;
use crate::{
    experiment::{Experiment, Fault},
    node::{FaultStatus, PlanStatus},
};

/// Passed only when each fault is known to have hit something until its end.
pub(super) fn judge(
    experiment: &Experiment,
    last: Option<&PlanStatus>,
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
    if doubts.is_empty() {
        (Outcome::Passed, None)
    } else {
        (Outcome::Inconclusive, Some(doubts.join("; ")))
    }
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
    use crate::{
        experiment::{Common, Direction, FaultKind, Mechanism, NetLoss, Share, Target},
        node::Counters,
    };

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
                    direction: Direction::Ingress,
                }),
                common: Common {
                    shadow,
                    ..Common::default()
                },
            }],
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
                trail: crate::node::Trail::default(),
            }],
        }
    }

    fn counted(considered: u64, matched: u64, injected: u64, would_inject: u64) -> Counters {
        Counters {
            considered,
            matched,
            injected,
            would_inject,
            ..Counters::default()
        }
    }

    fn reason(shadow: bool, status: Option<&PlanStatus>) -> String {
        let (outcome, reason) = judge(&experiment(shadow), status);
        assert_eq!(outcome, Outcome::Inconclusive);
        reason.unwrap()
    }

    #[test]
    fn only_a_hit_passes() {
        let hit = status(counted(9, 3, 1, 0), None);
        assert_eq!(
            judge(&experiment(false), Some(&hit)),
            (Outcome::Passed, None)
        );
        assert!(reason(true, Some(&hit)).contains("would have hit nothing"));
        let shadow = status(counted(9, 3, 0, 1), None);
        assert_eq!(
            judge(&experiment(true), Some(&shadow)),
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
            reason(false, Some(&status(counted(0, 0, 0, 0), None))),
            "fault 'loss' hit nothing: no event of its kind in the target"
        );
        assert_eq!(
            reason(false, Some(&status(counted(9, 0, 0, 0), None))),
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
        let early = status(counted(9, 3, 1, 0), Some("its cgroup is gone"));
        assert_eq!(
            reason(false, Some(&early)),
            "fault 'loss' ended early: its cgroup is gone"
        );
    }
}
