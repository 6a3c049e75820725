//! Evidence on the wire.

use std::time::Duration;

use super::{
    Malformed,
    experiment::{mechanism_of, wire_duration},
    proto,
};
use crate::node::{Counters, FaultStatus, PlanStatus};

impl From<&PlanStatus> for proto::PlanStatus {
    fn from(status: &PlanStatus) -> Self {
        Self {
            plan_id: status.id.clone(),
            faults: status.faults.iter().map(Into::into).collect(),
        }
    }
}

impl From<&FaultStatus> for proto::FaultStatus {
    fn from(status: &FaultStatus) -> Self {
        Self {
            fault: status.fault.clone(),
            word: status.word.clone(),
            target: status.target.clone(),
            mechanism: proto::Mechanism::from(status.mechanism).into(),
            not_covered: status.not_covered.clone(),
            remaining: Some(wire_duration(status.remaining)),
            ended: status.ended.clone(),
            counters: Some(status.counters.into()),
        }
    }
}

impl From<Counters> for proto::Counters {
    fn from(counters: Counters) -> Self {
        Self {
            considered: counters.considered,
            matched: counters.matched,
            injected: counters.injected,
            would_inject: counters.would_inject,
            over_budget: counters.over_budget,
            expired: counters.expired,
            error: counters.error,
        }
    }
}

impl From<proto::Counters> for Counters {
    fn from(wire: proto::Counters) -> Self {
        Self {
            considered: wire.considered,
            matched: wire.matched,
            injected: wire.injected,
            would_inject: wire.would_inject,
            over_budget: wire.over_budget,
            expired: wire.expired,
            error: wire.error,
        }
    }
}

impl TryFrom<proto::PlanStatus> for PlanStatus {
    type Error = Malformed;

    fn try_from(wire: proto::PlanStatus) -> Result<Self, Malformed> {
        Ok(Self {
            id: wire.plan_id,
            faults: wire
                .faults
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<proto::FaultStatus> for FaultStatus {
    type Error = Malformed;

    fn try_from(wire: proto::FaultStatus) -> Result<Self, Malformed> {
        let mechanism = proto::Mechanism::try_from(wire.mechanism)
            .ok()
            .and_then(mechanism_of)
            .ok_or_else(|| {
                Malformed::new(
                    "FaultStatus",
                    format!("mechanism {} is unknown", wire.mechanism),
                )
            })?;
        Ok(Self {
            fault: wire.fault,
            word: wire.word,
            target: wire.target,
            mechanism,
            not_covered: wire.not_covered,
            // A negative rest is one that has passed.
            remaining: wire
                .remaining
                .and_then(|remaining| Duration::try_from(remaining).ok())
                .unwrap_or_default(),
            ended: wire.ended,
            counters: wire.counters.unwrap_or_default().into(),
        })
    }
}
