//! What a demonstration came to: gathered in the guest, judged and shown on the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line from the guest.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Event {
    /// What happens now.
    Note(String),
    /// The last one, if all went through.
    Account(Box<Account>),
    /// The last one otherwise: the demonstration could not be carried out.
    Failed(String),
}

/// Everything that was seen.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// The workload that the experiment names.
    pub(crate) target: Side,
    /// The same workload beside it.
    pub(crate) neighbour: Side,
    /// What the scheduler said about the experiment.
    pub(crate) experiment: Experiment,
    /// How scheduler and agent ended.
    pub(crate) daemons: Vec<Daemon>,
    /// What was there while the experiment lived, and not before, the demonstration's own cgroups
    /// included: shows that the look at what is left is not blind.
    pub(crate) armed: Vec<Things>,
    /// What was there after everything was stopped, and not before.
    pub(crate) residue: Vec<Things>,
}

/// One of the two workloads.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Side {
    /// Where it runs.
    pub(crate) cgroup: String,
    /// What its client saw.
    pub(crate) phases: BTreeMap<Phase, Traffic>,
    /// Opens that failed, by its server's own log.
    pub(crate) logged_failures: u64,
}

/// A part of the demonstration's time.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Phase {
    /// Caches fill.
    Warmup,
    /// Nobody has asked for anything.
    Before,
    /// The experiment was asked for; at some moment of this it became live.
    Arming,
    /// Live for sure.
    During,
    /// At some moment of this it ended.
    Ending,
    /// Over for sure.
    After,
}

impl Phase {
    /// In the order of time.
    pub(crate) const ALL: [Self; 6] = [
        Self::Warmup,
        Self::Before,
        Self::Arming,
        Self::During,
        Self::Ending,
        Self::After,
    ];

    /// How it goes over a pipe and in datagrams.
    pub(crate) fn byte(self) -> u8 {
        self as u8
    }

    /// From [`Self::byte`].
    pub(crate) fn of(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// What one workload had in one phase. A request belongs to the phase that it began in.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Traffic {
    /// HTTP requests.
    pub(crate) requests: u64,
    /// Of these, answered with something else than 200.
    pub(crate) refused: u64,
    /// Of these, without a whole answer.
    pub(crate) broken: u64,
    /// How long those with an answer took; absent if there was none.
    pub(crate) latency: Option<Latency>,
    /// Datagrams sent to it from outside.
    pub(crate) sent: u64,
    /// Of these, received.
    pub(crate) received: u64,
}

impl Traffic {
    /// Requests that failed in whatever way.
    pub(crate) fn errors(&self) -> u64 {
        self.refused + self.broken
    }

    /// Datagrams that did not arrive.
    pub(crate) fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// Percentiles, in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// Half of the requests took no longer.
    pub(crate) p50: f64,
    /// 99 in 100 requests took no longer.
    pub(crate) p99: f64,
}

/// The experiment's last state, and how the command that saw it through exited.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Experiment {
    /// Exit status of `kchaos apply --wait`.
    pub(crate) exit: Option<i32>,
    /// As `kchaos apply --json` prints it.
    pub(crate) status: Status,
}

/// A line of `kchaos apply --json`, as far as it matters here.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// `metadata.name`.
    pub(crate) name: String,
    /// `armed`, `ended`, ...
    pub(crate) phase: String,
    /// `passed`, ...; absent before the end.
    pub(crate) outcome: Option<String>,
    /// Why the outcome is not `passed`.
    pub(crate) reason: Option<String>,
    /// The seed that was used.
    pub(crate) seed: u64,
    /// Nodes with a part in it.
    pub(crate) nodes: Vec<Node>,
}

impl Status {
    /// The faults on all nodes; there is one node here.
    pub(crate) fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.nodes.iter().flat_map(|node| &node.faults)
    }
}

/// A node with a part in an experiment.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    /// Its faults.
    pub(crate) faults: Vec<Fault>,
}

/// The evidence about one fault.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fault {
    /// Its identity.
    #[serde(rename = "fault")]
    pub(crate) id: String,
    /// As one shell word.
    pub(crate) word: String,
    /// What it was aimed at.
    pub(crate) target: String,
    /// How it was done.
    pub(crate) mechanism: String,
    /// What that cannot see.
    pub(crate) not_covered: Vec<String>,
    /// Until its deadline.
    pub(crate) remaining: String,
    /// What the kernel counted.
    pub(crate) counters: Counters,
}

/// What the kernel counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counters {
    /// Events of the hook in the target.
    pub(crate) considered: u64,
    /// Of these, those that passed the filters.
    pub(crate) matched: u64,
    /// Of these, those that were hit.
    pub(crate) injected: u64,
    /// Events that passed because they could not be read.
    pub(crate) error: u64,
}

/// How a daemon ended after SIGTERM.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Daemon {
    /// Its program.
    pub(crate) name: String,
    /// Whether it exited with 0, in time.
    pub(crate) clean: bool,
    /// How it ended, for people.
    pub(crate) end: String,
}

/// Things of one kind that were not there before.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Things {
    /// `BPF programs`, `cgroups`, ...
    pub(crate) kind: String,
    /// Each of them.
    pub(crate) names: Vec<String>,
}
