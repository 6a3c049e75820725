//! What the tests compare with `tc netem`, on the same link and in turn.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{cgroup::Cgroup, eventually, network::Link};

/// netem on the near end's device, until it is dropped.
#[derive(Debug)]
pub struct Netem<'a>(&'a Link);

impl<'a> Netem<'a> {
    /// With these arguments of `tc-netem(8)`, words with blanks between them.
    pub fn add(link: &'a Link, arguments: &str) -> Self {
        let netem = Self(link);
        netem.tc("add", arguments);
        netem
    }

    fn tc(&self, what: &str, arguments: &str) {
        let mut tc = self.0.near_tc();
        tc.args(["qdisc", what, "dev", "eth0", "root"]);
        if what == "add" {
            tc.arg("netem").args(arguments.split_whitespace());
        }
        let done = tc.output().unwrap();
        assert!(done.status.success(), "{tc:?}: {done:?}");
    }
}

impl Drop for Netem<'_> {
    fn drop(&mut self) {
        self.tc("del", "");
    }
}

/// An iperf3 that waits at the far end.
#[derive(Debug)]
pub struct Server(Child);

impl Server {
    /// Returns when it listens.
    pub fn start(link: &Link) -> Self {
        let mut iperf3 = link.far("iperf3");
        let child = iperf3.arg("-s").stdout(Stdio::null()).spawn().unwrap();
        let there = || {
            let mut list = link.far("ss");
            let said = list.args(["-Hltn", "sport = :5201"]).output().unwrap();
            !said.stdout.is_empty()
        };
        eventually("iperf3 listens", Duration::from_secs(20), there);
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What became of bytes that were sent over TCP.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Bits in a second that were received.
    pub goodput: f64,
    /// Segments that were sent again for each thousand bytes.
    pub again: f64,
}

impl Flow {
    /// Sends so many, `400K`, from a cgroup at the near end.
    pub fn send(link: &Link, cgroup: &Cgroup, bytes: &str) -> Self {
        let mut iperf3 = link.near(cgroup, "iperf3");
        iperf3.args(["-c", Link::FAR[0], "-n", bytes, "--json"]);
        let said = iperf3.output().unwrap();
        let account: Value = serde_json::from_slice(&said.stdout).unwrap();
        let number = |end: &str, name: &str| {
            let number = account["end"][end][name].as_f64();
            number.unwrap_or_else(|| panic!("{account}"))
        };
        Self {
            goodput: number("sum_received", "bits_per_second"),
            again: number("sum_sent", "retransmits") / (number("sum_sent", "bytes") / 1000.0),
        }
    }
}

/// The one in the middle.
///
/// # Panics
/// There is none.
pub fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How far two samples are apart: the statistic of Kolmogorov and Smirnov, between 0 and 1.
pub fn distance(one: &[f64], other: &[f64]) -> f64 {
    let sorted = |sample: &[f64]| {
        let mut sorted = sample.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let (one, other) = (sorted(one), sorted(other));
    #[expect(clippy::cast_precision_loss, reason = "samples of some thousands")]
    let share = |sample: &[f64], value: f64| {
        sample.partition_point(|each| *each <= value) as f64 / sample.len() as f64
    };
    let apart = |value: &f64| (share(&one, *value) - share(&other, *value)).abs();
    one.iter().chain(&other).map(apart).fold(0.0, f64::max)
}

/// So far two samples of the same distribution are apart in one case of a thousand (Smirnov, for samples that
/// are not small).
pub fn distance_by_chance(one: &[f64], other: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "samples of some thousands")]
    let (n, m) = (one.len() as f64, other.len() as f64);
    1.95 * ((n + m) / (n * m)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_as_far_apart_as_their_shares() {
        let near = |distance: f64, expected: f64| assert!((distance - expected).abs() < 1e-9);
        near(distance(&[1.0, 2.0], &[2.0, 1.0]), 0.0);
        near(distance(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
        near(distance(&[1.0, 2.0, 3.0, 4.0], &[3.0, 4.0, 5.0, 6.0]), 0.5);
    }
}
