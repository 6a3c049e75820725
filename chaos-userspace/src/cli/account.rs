//! A short account of what faults did, for people and for machines.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::trail;
use crate::{
    experiment::format_duration,
    node::{Counters, FaultStatus, PlanStatus},
};

/// What an account says of a fault that hit, or would have hit, something.
pub(super) fn hit(counters: Counters) -> bool {
    counters.injected > 0 || counters.would_inject > 0
}

/// One fault in one or two lines.
pub(super) fn line(fault: &FaultStatus) -> String {
    let mut text = format!("{} ({}): {}", fault.word, fault.mechanism, numbers(fault));
    if let Some(why) = &fault.ended {
        text.push_str("; ");
        text.push_str(why);
    }
    text
}

/// Which calls of the fault's classes the mechanism leaves out here.
pub(super) fn left_out(fault: &FaultStatus) -> Option<String> {
    let calls = fault.left_out()?;
    Some(format!(
        "{} ({}) leaves out: {calls}",
        fault.word, fault.mechanism
    ))
}

/// `3 of 40 matching hit, 52 considered`
pub(super) fn numbers(fault: &FaultStatus) -> String {
    let counters = fault.counters;
    let (count, verb) = if counters.would_inject > 0 {
        (counters.would_inject, "would have been hit")
    } else {
        (counters.injected, "hit")
    };
    let mut text = format!(
        "{count} of {} matching {verb}, {} considered",
        counters.matched, counters.considered
    );
    for (count, what) in [
        (counters.over_budget, "over budget"),
        (counters.expired, "after the end"),
        (counters.error, "could not be decided and passed"),
        (fault.uncounted, "passed uncounted"),
    ] {
        if count > 0 {
            write!(text, ", {count} {what}").ok();
        }
    }
    if let Some(late) = fault.late {
        write!(
            text,
            "; half of {} late by at most {}, 99 % by {}",
            late.packets,
            format_duration(late.median),
            format_duration(late.p99)
        )
        .ok();
    }
    text
}

/// The same for machines, with the single injections if they are asked for.
pub(super) fn json(status: &PlanStatus, with_trail: bool) -> Value {
    let faults: Vec<Value> = status
        .faults
        .iter()
        .map(|fault| {
            let Counters {
                considered,
                matched,
                injected,
                would_inject,
                over_budget,
                expired,
                error,
            } = fault.counters;
            let mut value = json!({
                "fault": fault.fault,
                "word": fault.word,
                "target": fault.target,
                "mechanism": fault.mechanism.name(),
                "notCovered": fault.not_covered,
                "remaining": format_duration(fault.remaining),
                "ended": fault.ended,
                "counters": {
                    "considered": considered,
                    "matched": matched,
                    "injected": injected,
                    "wouldInject": would_inject,
                    "overBudget": over_budget,
                    "expired": expired,
                    "error": error,
                },
                "uncounted": fault.uncounted,
            });
            if let Some(late) = fault.late {
                value["late"] = json!({
                    "packets": late.packets,
                    "medianUs": late.median.as_micros(),
                    "p99Us": late.p99.as_micros(),
                });
            }
            if with_trail {
                value["trail"] = trail::json(&fault.trail);
            }
            value
        })
        .collect();
    json!(faults)
}
