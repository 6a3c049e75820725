//! Evidence on the wire.

use std::time::{Duration, SystemTime};

use super::{
    Malformed,
    experiment::{mechanism_of, wire_duration},
    proto,
};
use crate::{
    engine::Lateness,
    node::{Counters, FaultStatus, Flow, Frame, Place, PlanStatus, Sample, Subject, Trail},
};

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
            trail: Some((&status.trail).into()),
            uncounted: status.uncounted,
            late: status.late.map(Into::into),
        }
    }
}

impl From<Lateness> for proto::Lateness {
    fn from(late: Lateness) -> Self {
        Self {
            packets: late.packets,
            median: Some(wire_duration(late.median)),
            p99: Some(wire_duration(late.p99)),
        }
    }
}

impl From<proto::Lateness> for Lateness {
    fn from(wire: proto::Lateness) -> Self {
        let duration = |wire: Option<prost_types::Duration>| {
            wire.and_then(|wire| Duration::try_from(wire).ok())
                .unwrap_or_default()
        };
        Self {
            packets: wire.packets,
            median: duration(wire.median),
            p99: duration(wire.p99),
        }
    }
}

impl From<&Trail> for proto::Trail {
    fn from(trail: &Trail) -> Self {
        Self {
            events: trail.events.iter().map(Into::into).collect(),
            sampled: trail.sampled,
            lost: trail.lost,
            ordinals: trail.ordinals.clone(),
            truncated: trail.truncated,
        }
    }
}

impl From<&Sample> for proto::Sample {
    fn from(sample: &Sample) -> Self {
        use proto::sample::Subject as Wire;
        Self {
            ordinal: sample.ordinal,
            at: Some(sample.at.into()),
            since_boot: Some(wire_duration(sample.since_boot)),
            cgroup: sample.cgroup,
            subject: Some(match &sample.subject {
                Subject::Task {
                    pid,
                    tid,
                    comm,
                    call,
                } => Wire::Task(proto::SampledTask {
                    pid: *pid,
                    tid: *tid,
                    comm: comm.clone(),
                    call: *call,
                    stack: sample.stack.iter().map(Into::into).collect(),
                }),
                Subject::Packet { bytes, flow } => Wire::Packet(proto::SampledPacket {
                    bytes: *bytes,
                    flow: flow.as_ref().map(Into::into),
                }),
                Subject::Connection(flow) => Wire::Connection(flow.into()),
            }),
        }
    }
}

impl From<&Frame> for proto::Frame {
    fn from(frame: &Frame) -> Self {
        let (file, offset) = frame
            .place
            .as_ref()
            .map_or_else(Default::default, |place| (place.file.clone(), place.offset));
        Self {
            address: frame.address,
            file,
            offset,
        }
    }
}

impl From<proto::Frame> for Frame {
    fn from(wire: proto::Frame) -> Self {
        Self {
            address: wire.address,
            place: (!wire.file.is_empty()).then_some(Place {
                file: wire.file,
                offset: wire.offset,
            }),
        }
    }
}

impl From<&Flow> for proto::Flow {
    fn from(flow: &Flow) -> Self {
        let (source_port, destination_port) = flow.ports.unzip();
        Self {
            protocol: flow.protocol.into(),
            source: flow.source.to_string(),
            destination: flow.destination.to_string(),
            source_port: source_port.map(Into::into),
            destination_port: destination_port.map(Into::into),
        }
    }
}

impl TryFrom<proto::Flow> for Flow {
    type Error = Malformed;

    fn try_from(wire: proto::Flow) -> Result<Self, Malformed> {
        let read = || {
            let port = |port: Option<u32>| port.map(u16::try_from).transpose().ok();
            Some(Self {
                protocol: wire.protocol.try_into().ok()?,
                source: wire.source.parse().ok()?,
                destination: wire.destination.parse().ok()?,
                ports: port(wire.source_port)?.zip(port(wire.destination_port)?),
            })
        };
        read().ok_or_else(|| Malformed::new("Flow", "its ends are no addresses and ports"))
    }
}

impl TryFrom<proto::Trail> for Trail {
    type Error = Malformed;

    fn try_from(wire: proto::Trail) -> Result<Self, Malformed> {
        Ok(Self {
            events: wire
                .events
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            sampled: wire.sampled,
            lost: wire.lost,
            ordinals: wire.ordinals,
            truncated: wire.truncated,
        })
    }
}

impl TryFrom<proto::Sample> for Sample {
    type Error = Malformed;

    fn try_from(wire: proto::Sample) -> Result<Self, Malformed> {
        use proto::sample::Subject as Wire;
        let mut stack = Vec::new();
        Ok(Self {
            ordinal: wire.ordinal,
            at: wire
                .at
                .and_then(|at| SystemTime::try_from(at).ok())
                .ok_or_else(|| Malformed::new("Sample", "its time is missing or out of range"))?,
            since_boot: wire
                .since_boot
                .and_then(|since| Duration::try_from(since).ok())
                .unwrap_or_default(),
            cgroup: wire.cgroup,
            subject: match wire.subject {
                Some(Wire::Task(task)) => {
                    stack = task.stack.into_iter().map(Into::into).collect();
                    Subject::Task {
                        pid: task.pid,
                        tid: task.tid,
                        comm: task.comm,
                        call: task.call,
                    }
                }
                Some(Wire::Packet(packet)) => Subject::Packet {
                    bytes: packet.bytes,
                    flow: packet.flow.map(Flow::try_from).transpose()?,
                },
                Some(Wire::Connection(flow)) => Subject::Connection(flow.try_into()?),
                None => return Err(Malformed::new("Sample", "it says nothing of what was hit")),
            },
            stack,
        })
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
            trail: wire.trail.unwrap_or_default().try_into()?,
            uncounted: wire.uncounted,
            late: wire.late.map(Into::into),
        })
    }
}
