//! `net.link`, in both directions.

use super::{checks::same, from_wire::Reader, wire_duration};
use crate::{
    api::proto,
    experiment::{
        BitRate, Bursts, ByteSize, Corruption, Direction, Distribution, LossModel, NetLink, Share,
    },
};

same!(Distribution: Uniform, Normal, Pareto, ParetoNormal);
same!(Corruption: Wire, Silent);

impl From<&NetLink> for proto::NetLink {
    fn from(link: &NetLink) -> Self {
        let distribution = link.distribution.map(proto::Distribution::from);
        let corruption = link.corruption.map(proto::Corruption::from);
        Self {
            delay: link.delay.map(wire_duration),
            jitter: link.jitter.map(wire_duration),
            distribution: distribution.unwrap_or_default().into(),
            correlation: link.correlation.map(Into::into),
            loss: link.loss.map(Into::into),
            duplicate: link.duplicate.map(Into::into),
            corrupt: link.corrupt.map(Into::into),
            corruption: corruption.unwrap_or_default().into(),
            reorder: link.reorder.map(Into::into),
            rate: link.rate.map(BitRate::bits),
            burst: link.burst.map(ByteSize::bytes),
            direction: proto::Direction::from(link.traffic.direction).into(),
            traffic: Some((&link.traffic).into()),
        }
    }
}

impl From<LossModel> for proto::LinkLoss {
    fn from(loss: LossModel) -> Self {
        use proto::link_loss::Model as Wire;
        Self {
            model: Some(match loss {
                LossModel::Random(share) => Wire::Random(share.into()),
                LossModel::Every(packets) => Wire::Every(packets),
                LossModel::Bursts(bursts) => Wire::Bursts(proto::LossBursts {
                    to_bad: Some(bursts.to_bad.into()),
                    to_good: Some(bursts.to_good.into()),
                    lost_in_bad: Some(bursts.lost_in_bad.into()),
                    lost_in_good: Some(bursts.lost_in_good.into()),
                }),
            }),
        }
    }
}

impl Reader {
    pub(super) fn net_link(&mut self, field: &str, wire: &proto::NetLink) -> NetLink {
        let at = |key: &str| format!("{field}.{key}");
        let direction = self.direction(field, wire.direction, Direction::Egress);
        NetLink {
            delay: self.duration(&at("delay"), wire.delay),
            jitter: self.duration(&at("jitter"), wire.jitter),
            distribution: self.word(&at("distribution"), wire.distribution, |known| {
                proto::Distribution::try_from(known).map(Into::into)
            }),
            correlation: self.some_share(&at("correlation"), wire.correlation),
            loss: wire
                .loss
                .as_ref()
                .map(|loss| self.loss_model(&at("loss"), loss)),
            duplicate: self.some_share(&at("duplicate"), wire.duplicate),
            corrupt: self.some_share(&at("corrupt"), wire.corrupt),
            corruption: self.word(&at("corruption"), wire.corruption, |known| {
                proto::Corruption::try_from(known).map(Into::into)
            }),
            reorder: self.some_share(&at("reorder"), wire.reorder),
            rate: wire.rate.map(|bits| {
                BitRate::from_bits(bits).unwrap_or_else(|| {
                    let (min, max) = (BitRate::MIN, BitRate::MAX);
                    self.bad(&at("rate"), format!("is not from {min} to {max} a second"));
                    BitRate::MEGABIT
                })
            }),
            burst: wire.burst.map(|bytes| {
                ByteSize::from_bytes(bytes).unwrap_or_else(|| {
                    let problem = format!("is not from 1 byte to {}", ByteSize::MAX);
                    self.bad(&at("burst"), problem);
                    ByteSize::MEBIBYTE
                })
            }),
            traffic: self.traffic(field, direction, wire.traffic.as_ref()),
        }
    }

    fn loss_model(&mut self, field: &str, wire: &proto::LinkLoss) -> LossModel {
        use proto::link_loss::Model as Wire;
        match &wire.model {
            Some(Wire::Random(share)) => LossModel::Random(self.share(field, *share)),
            Some(Wire::Every(packets)) => LossModel::Every(*packets),
            Some(Wire::Bursts(bursts)) => {
                if bursts.to_bad.is_none() || bursts.to_good.is_none() {
                    self.bad(
                        field,
                        "lacks the chance to become bad, or that to become good",
                    );
                }
                let mut share = |share: Option<proto::Share>, usual: Share| {
                    share.map_or(usual, |share| self.share(field, share))
                };
                LossModel::Bursts(Bursts {
                    to_bad: share(bursts.to_bad, Share::NONE),
                    to_good: share(bursts.to_good, Share::ALL),
                    lost_in_bad: share(bursts.lost_in_bad, Share::ALL),
                    lost_in_good: share(bursts.lost_in_good, Share::NONE),
                })
            }
            None => {
                self.bad(field, "says no model; say one of random, every, bursts");
                LossModel::Random(Share::ALL)
            }
        }
    }

    fn some_share(&mut self, field: &str, wire: Option<proto::Share>) -> Option<Share> {
        wire.map(|share| self.share(field, share))
    }

    /// Nothing for what is not said.
    fn word<T>(
        &mut self,
        field: &str,
        wire: i32,
        known: impl Fn(i32) -> Result<Option<T>, prost::UnknownEnumValue>,
    ) -> Option<T> {
        known(wire).unwrap_or_else(|_unknown| {
            self.bad(field, format!("{wire} is not in this version"));
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::experiment::{Experiment, FaultKind, Target, Violations};

    fn read(link: proto::NetLink) -> Result<NetLink, Violations> {
        let wire = proto::Experiment {
            name: "e".to_owned(),
            target: Some((&Target::Cgroup("/a".to_owned())).into()),
            duration: Some(wire_duration(Duration::from_secs(1))),
            faults: vec![proto::Fault {
                kind: Some(proto::fault::Kind::NetLink(link)),
                ..proto::Fault::default()
            }],
            ..proto::Experiment::default()
        };
        Experiment::try_from(wire).map(|mut experiment| match experiment.faults.remove(0).kind {
            FaultKind::NetLink(link) => link,
            other => panic!("{other:?}"),
        })
    }

    fn delayed() -> proto::NetLink {
        proto::NetLink {
            delay: Some(wire_duration(Duration::from_millis(100))),
            ..proto::NetLink::default()
        }
    }

    #[test]
    fn what_is_not_said_has_the_defaults_of_a_link() {
        let link = read(proto::NetLink {
            loss: Some(proto::LinkLoss {
                model: Some(proto::link_loss::Model::Bursts(proto::LossBursts {
                    to_bad: Some(Share::NONE.into()),
                    to_good: Some(Share::ALL.into()),
                    ..proto::LossBursts::default()
                })),
            }),
            ..delayed()
        })
        .unwrap();
        assert_eq!(link.traffic.direction, Direction::Egress);
        assert_eq!((link.distribution, link.corruption), (None, None));
        let loss = link.loss.map(|loss| loss.to_string());
        assert_eq!(loss.as_deref(), Some("gemodel/0%/100%"));
    }

    #[test]
    fn what_is_no_link_is_refused() {
        use proto::link_loss::Model;
        let loss = |model| {
            let loss = Some(proto::LinkLoss { model });
            proto::NetLink { loss, ..delayed() }
        };
        for (wire, message) in [
            (
                proto::NetLink::default(),
                "delay: is missing, and so are loss, duplicate, corrupt and rate: the link would do \
                 nothing; say at least one of them, as in net.link,delay=100ms",
            ),
            (
                proto::NetLink {
                    distribution: 9,
                    ..delayed()
                },
                "distribution: 9 is not in this version",
            ),
            (
                proto::NetLink {
                    rate: Some(7),
                    ..delayed()
                },
                "rate: is not from 8bit to 100tbit a second",
            ),
            (
                proto::NetLink {
                    rate: Some(8),
                    burst: Some(0),
                    ..delayed()
                },
                "burst: is not from 1 byte to 1024TiB",
            ),
            (
                proto::NetLink {
                    traffic: Some(proto::Traffic {
                        visible: true,
                        ..proto::Traffic::default()
                    }),
                    ..delayed()
                },
                "visible: net.link has none: whoever sends over a link is never told what becomes \
                 of it; leave it out",
            ),
            (
                loss(None),
                "loss: says no model; say one of random, every, bursts",
            ),
            (
                loss(Some(Model::Every(1))),
                "loss: 'every/1' is no loss of some packets; \
                 say every/2 or more, or 100% for all of them",
            ),
            (
                loss(Some(Model::Bursts(proto::LossBursts::default()))),
                "loss: lacks the chance to become bad, or that to become good",
            ),
            (
                proto::NetLink {
                    delay: Some(wire_duration(Duration::MAX)),
                    ..proto::NetLink::default()
                },
                "delay: 106751991167300d15h30m7s is too long; say at most 1m",
            ),
        ] {
            let said = read(wire).unwrap_err().to_string();
            assert_eq!(said, format!("spec.faults[0].netLink.{message}"));
        }
    }
}
