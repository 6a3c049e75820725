//! Experiments on the wire, in both directions.

mod call_filter;
mod checks;
mod dns;
mod from_wire;
mod link;
mod to_wire;
mod traffic;

pub(super) use from_wire::mechanism_of;
pub(super) use to_wire::wire_duration;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::{
        api::proto,
        experiment::{Experiment, Share, Target, strategies},
    };

    proptest! {
        #[test]
        fn experiments_come_back_from_the_wire(experiment in strategies::experiment()) {
            let bytes = proto::Experiment::from(&experiment).encode_to_vec();
            let wire = proto::Experiment::decode(bytes.as_slice())?;
            prop_assert_eq!(Experiment::try_from(wire), Ok(experiment));
        }
    }

    #[test]
    fn a_value_and_a_delay_must_be_said() {
        use proto::fault::Kind as Wire;
        let ops = || vec!["write".to_owned()];
        for (kind, wanted) in [
            (
                Wire::SyscallReturn(proto::SyscallReturn {
                    ops: ops(),
                    value: None,
                    filter: None,
                }),
                "spec.faults[0].syscallReturn.value: is missing",
            ),
            (
                Wire::SyscallReturn(proto::SyscallReturn {
                    ops: ops(),
                    value: Some(1 << 31),
                    filter: None,
                }),
                "spec.faults[0].syscallReturn.value: 2147483648 is too large; say at most \
                 2147483647, the highest int",
            ),
            (
                Wire::SyscallDelay(proto::SyscallDelay {
                    ops: ops(),
                    delay: None,
                    filter: None,
                }),
                "spec.faults[0].syscallDelay.delay: is missing",
            ),
            (
                Wire::SyscallDelay(proto::SyscallDelay {
                    ops: ops(),
                    delay: Some(wire_duration(Duration::from_hours(2))),
                    filter: None,
                }),
                "spec.faults[0].syscallDelay.delay: 2h is not such a delay; say whole \
                 microseconds, from 1us to 1h",
            ),
        ] {
            let wire = proto::Experiment {
                name: "e".to_owned(),
                target: Some((&Target::Cgroup("/a".to_owned())).into()),
                duration: Some(wire_duration(Duration::from_secs(1))),
                faults: vec![proto::Fault {
                    kind: Some(kind),
                    ..proto::Fault::default()
                }],
                ..proto::Experiment::default()
            };
            let said = Experiment::try_from(wire).unwrap_err().to_string();
            assert_eq!(said, wanted);
        }
    }

    #[test]
    fn missing_ids_are_numbered() {
        let fault = proto::Fault {
            kind: Some(proto::fault::Kind::NetLoss(proto::NetLoss {
                share: Some(Share::ALL.into()),
                direction: proto::Direction::Ingress.into(),
                traffic: None,
            })),
            ..proto::Fault::default()
        };
        let wire = proto::Experiment {
            name: "e".to_owned(),
            target: Some((&Target::Cgroup("/a".to_owned())).into()),
            duration: Some(wire_duration(Duration::from_secs(1))),
            faults: vec![fault.clone(), fault],
            ..proto::Experiment::default()
        };
        let experiment = Experiment::try_from(wire).unwrap();
        let ids: Vec<&str> = experiment
            .faults
            .iter()
            .map(|fault| fault.id.as_str())
            .collect();
        assert_eq!(ids, ["net.loss", "net.loss-2"]);
    }
}
