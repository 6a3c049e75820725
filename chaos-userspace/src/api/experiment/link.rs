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
