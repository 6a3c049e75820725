//! `net.link`

use chaos_common::{LinkConfig, link::distribution};

use super::nanoseconds;
use crate::experiment::{Bursts, Corruption, Distribution, FaultKind, LossModel, Mechanism, Share};

pub(super) const LADDER: &[Mechanism] = &[Mechanism::Ifb];

pub(super) const NOT_COVERED: &[&str] = &[
    "AF_PACKET sockets that send past the queues (PACKET_QDISC_BYPASS), and AF_XDP",
    "what the kernel sends or gets by itself, and what arrives: only where the target has its network namespace \
     for itself",
    "segments alone: what a device is given as one packet, to be cut into segments later, is one",
    "packets of the highest priority (SO_PRIORITY 7; ARP and neighbour discovery have it): they do not wait",
    "sockets that a process brought along when it was moved into the target",
];

/// So much finds a place in the queue of a rate: what netem has by default, full packets of Ethernet.
const QUEUE_BYTES: u64 = 1000 * 1500;

/// What programs are told of a link.
pub(super) fn link(kind: &FaultKind) -> Option<LinkConfig> {
    let FaultKind::NetLink(link) = kind else {
        return None;
    };
    let mut config = LinkConfig {
        delay_ns: link.delay.map_or(0, nanoseconds),
        jitter_ns: link.jitter.map_or(0, nanoseconds),
        duplicate: threshold(link.duplicate),
        corrupt: threshold(link.corrupt),
        reorder: threshold(link.reorder),
        distribution: match link.distribution.unwrap_or_default() {
            Distribution::Uniform => distribution::UNIFORM,
            Distribution::Normal => distribution::NORMAL,
            Distribution::Pareto => distribution::PARETO,
            Distribution::ParetoNormal => distribution::PARETO_NORMAL,
        },
        // All of it would be a number that never changes.
        correlation: u32::try_from(threshold(link.correlation)).unwrap_or(u32::MAX),
        flags: match link.corruption.unwrap_or_default() {
            Corruption::Wire => 0,
            Corruption::Silent => LinkConfig::SILENT,
        },
        ..LinkConfig::default()
    };
    match link.loss {
        None => {}
        Some(LossModel::Random(share)) => config.loss = share.threshold(),
        Some(LossModel::Every(every)) => config.every = every,
        Some(LossModel::Bursts(Bursts {
            to_bad,
            to_good,
            lost_in_bad,
            lost_in_good,
        })) => {
            config.to_bad = to_bad.threshold();
            config.to_good = to_good.threshold();
            config.loss_in_bad = lost_in_bad.threshold();
            config.loss = lost_in_good.threshold();
        }
    }
    if let Some(rate) = link.rate {
        let byte_rate = (rate.bits() / 8).max(1);
        let takes_ns = |bytes: u64| {
            let ns = u128::from(bytes) * 1_000_000_000 / u128::from(byte_rate);
            u64::try_from(ns).map_or(LinkConfig::LONGEST_NS, |ns| ns.min(LinkConfig::LONGEST_NS))
        };
        config.byte_rate = byte_rate;
        config.burst_ns = link.burst.map_or(0, |burst| takes_ns(burst.bytes()));
        config.queue_ns = takes_ns(QUEUE_BYTES);
    }
    Some(config)
}

fn threshold(share: Option<Share>) -> u64 {
    share.map_or(0, Share::threshold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::word;

    fn config(word: &str) -> LinkConfig {
        link(&word::parse(word).unwrap().kind).unwrap()
    }

    #[test]
    fn rates_become_times() {
        let config = config("net.rate=8mbit,burst=10kB");
        assert_eq!(config.byte_rate, 1_000_000);
        assert_eq!(config.burst_ns, 10_000_000);
        assert_eq!(config.queue_ns, 1_500_000_000);
        let slow = self::config("net.rate=8bit");
        assert_eq!(slow.byte_rate, 1);
        assert_eq!(slow.queue_ns, LinkConfig::LONGEST_NS);
    }

    #[test]
    fn shares_become_thresholds() {
        let config = config("net.link,loss=gemodel/1%/50%,duplicate=100%");
        assert_eq!(
            (config.to_good, config.loss_in_bad, config.loss),
            (1 << 31, 1 << 32, 0)
        );
        assert_eq!(config.duplicate, 1 << 32);
        assert_eq!(self::config("net.link,loss=every/7").every, 7);
    }
}
