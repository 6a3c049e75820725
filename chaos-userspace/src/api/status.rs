//! The state of experiments on the wire.

use std::time::SystemTime;

use super::{Malformed, proto};
use crate::scheduler::{ExperimentStatus, NodePart, Outcome, Phase};

impl From<&ExperimentStatus> for proto::ExperimentStatus {
    fn from(status: &ExperimentStatus) -> Self {
        Self {
            name: status.name.clone(),
            id: status.id.clone(),
            phase: proto::Phase::from(status.phase).into(),
            outcome: status
                .outcome
                .map_or(proto::Outcome::Unspecified, Into::into)
                .into(),
            reason: status.reason.clone().unwrap_or_default(),
            accepted_at: Some(status.accepted_at.into()),
            ended_at: status.ended_at.map(Into::into),
            seed: status.seed,
            nodes: status
                .nodes
                .iter()
                .map(|part| proto::NodeStatus {
                    node: part.node.clone(),
                    connected: part.connected,
                    plan: part.plan.as_ref().map(Into::into),
                    reported_at: part.reported_at.map(Into::into),
                })
                .collect(),
        }
    }
}

impl From<Phase> for proto::Phase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Accepted => Self::Accepted,
            Phase::Armed => Self::Armed,
            Phase::Ending => Self::Ending,
            Phase::Ended => Self::Ended,
        }
    }
}

impl From<Outcome> for proto::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self::Passed,
            Outcome::Failed => Self::Failed,
            Outcome::Inconclusive => Self::Inconclusive,
        }
    }
}

impl TryFrom<proto::ExperimentStatus> for ExperimentStatus {
    type Error = Malformed;

    fn try_from(wire: proto::ExperimentStatus) -> Result<Self, Malformed> {
        let bad = |problem: &str| Malformed::new("ExperimentStatus", problem);
        let time = |wire: prost_types::Timestamp| {
            SystemTime::try_from(wire)
                .ok()
                .ok_or_else(|| bad("a time is out of range"))
        };
        let phase = match wire.phase() {
            proto::Phase::Accepted => Phase::Accepted,
            proto::Phase::Armed => Phase::Armed,
            proto::Phase::Ending => Phase::Ending,
            proto::Phase::Ended => Phase::Ended,
            proto::Phase::Unspecified => return Err(bad("phase is unknown")),
        };
        let outcome = match wire.outcome() {
            proto::Outcome::Passed => Some(Outcome::Passed),
            proto::Outcome::Failed => Some(Outcome::Failed),
            proto::Outcome::Inconclusive => Some(Outcome::Inconclusive),
            proto::Outcome::Unspecified if phase == Phase::Ended => {
                return Err(bad("outcome is unknown"));
            }
            proto::Outcome::Unspecified => None,
        };
        Ok(Self {
            name: wire.name,
            id: wire.id,
            phase,
            outcome,
            reason: Some(wire.reason).filter(|reason| !reason.is_empty()),
            accepted_at: time(
                wire.accepted_at
                    .ok_or_else(|| bad("accepted_at is missing"))?,
            )?,
            ended_at: wire.ended_at.map(time).transpose()?,
            seed: wire.seed,
            nodes: wire
                .nodes
                .into_iter()
                .map(|part| {
                    Ok(NodePart {
                        node: part.node,
                        connected: part.connected,
                        plan: part.plan.map(TryInto::try_into).transpose()?,
                        reported_at: part.reported_at.map(time).transpose()?,
                    })
                })
                .collect::<Result<_, Malformed>>()?,
        })
    }
}
