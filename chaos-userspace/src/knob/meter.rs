//! What a limit does to its cgroup, as the kernel counts it.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{CPU_MAX, IoMax, Limit};
use crate::{boot, journal::Change, node::Counters, target::CgroupTree};

/// How long the use of a disk is looked at at a time: the kernel lets bytes through in portions.
const WINDOW: Duration = Duration::from_secs(1);
/// The last window of a fault may be shorter, but not than this.
const LEAST: Duration = Duration::from_millis(250);

/// Of a change that is in force, since it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meter {
    /// The kernel counts what it holds up.
    Cpu(Throttled),
    /// It does not: whether the limit was reached is seen from what went through.
    Io(Flow),
}

impl Meter {
    pub(super) fn start(tree: &CgroupTree, change: &Change) -> Self {
        match Limit::parse(&change.file, &change.wanted) {
            Ok(Limit::Io(limit)) => Self::Io(Flow {
                limit,
                before: Usage::read(tree, change),
                since: Instant::now(),
                counters: Counters::default(),
            }),
            _ => Self::Cpu(Throttled::read(tree, change)),
        }
    }

    /// What was counted so far. The `last` look also takes the window that is not over yet.
    pub(super) fn look(&mut self, tree: &CgroupTree, change: &Change, last: bool) -> Counters {
        match self {
            Self::Cpu(from) => Throttled::read(tree, change).since(*from),
            Self::Io(flow) => {
                // Behind the deadline the limit is gone, and says nothing about what goes through.
                let is_rest = last && boot::time_ns() < change.deadline_ns;
                let window = if is_rest { LEAST } else { WINDOW };
                if flow.since.elapsed() >= window {
                    flow.close(Usage::read(tree, change), Instant::now());
                }
                flow.counters
            }
        }
    }
}

/// What `cpu.stat` says about a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Throttled {
    /// Periods in which a process of the cgroup ran.
    periods: u64,
    /// Of these, periods in which the quota was used up.
    throttled: u64,
}

impl Throttled {
    fn read(tree: &CgroupTree, change: &Change) -> Self {
        debug_assert_eq!(change.file, CPU_MAX);
        let file = tree.folder(&change.cgroup).join("cpu.stat");
        // A cgroup that is gone counts no more.
        Self::parse(&fs::read_to_string(file).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .find(|(name, _)| *name == key)
                .and_then(|(_, value)| value.parse().ok())
                .unwrap_or(0)
        };
        Self {
            periods: value("nr_periods"),
            throttled: value("nr_throttled"),
        }
    }

    fn since(self, before: Self) -> Counters {
        let periods = self.periods.saturating_sub(before.periods);
        Counters {
            considered: periods,
            matched: periods,
            injected: self.throttled.saturating_sub(before.throttled),
            ..Counters::default()
        }
    }
}

/// What `io.stat` has of one device, in the order of `io.max`: what the limit has let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage([u64; 4]);

impl Usage {
    fn read(tree: &CgroupTree, change: &Change) -> Self {
        let file = tree.folder(&change.cgroup).join("io.stat");
        // A cgroup that is gone counts no more.
        Self::parse(
            &fs::read_to_string(file).unwrap_or_default(),
            &change.device,
        )
    }

    fn parse(text: &str, device: &str) -> Self {
        let line = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(name, _)| *name == device)
            .map_or("", |(_, fields)| fields);
        Self(["rbytes", "wbytes", "rios", "wios"].map(|key| {
            line.split_whitespace()
                .filter_map(|word| word.split_once('='))
                .find(|(name, _)| *name == key)
                .and_then(|(_, value)| value.parse().ok())
                .unwrap_or(0)
        }))
    }
}

/// Windows in which the cgroup used the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    limit: IoMax,
    /// At the window's start.
    before: Usage,
    since: Instant,
    counters: Counters,
}

/// From this field of a [`Usage`] on operations are counted, not bytes.
const FIRST_OF_OPERATIONS: usize = 2;

impl Flow {
    fn close(&mut self, now: Usage, at: Instant) {
        let millis = at.saturating_duration_since(self.since).as_millis();
        let (mut used, mut reached) = (false, false);
        for (index, limit) in self.limit.0.iter().enumerate() {
            let Some(limit) = limit else { continue };
            let went = now.0[index].saturating_sub(self.before.0[index]);
            used |= went > 0;
            let (went, limit) = (u128::from(went), u128::from(*limit));
            // Four fifths: portions do not end where windows do.
            let nearly = went * 5000 >= limit * millis * 4;
            // The kernel gives out whole operations by slices of time, and drops what is left of one: of four in
            // a second it lets three through (`tg_within_iops_limit`, `block/blk-throttle.c`; seen on 6.1).
            let one_less = index >= FIRST_OF_OPERATIONS
                && went + (millis + 500) / 1000 >= limit * millis / 1000;
            reached |= went > 0 && (nearly || one_less);
        }
        self.counters.considered += u64::from(used);
        self.counters.matched += u64::from(used);
        self.counters.injected += u64::from(reached);
        (self.before, self.since) = (now, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_events_and_throttled_ones_are_hits() {
        let before = Throttled::parse("usage_usec 5\nnr_periods 10\nnr_throttled 4\n");
        let after = Throttled::parse("nr_periods 30\nnr_throttled 14\nthrottled_usec 7\n");
        let counters = after.since(before);
        assert_eq!((counters.matched, counters.injected), (20, 10));
        // A cgroup that is gone.
        assert_eq!(Throttled::parse("").since(after), Counters::default());
    }

    #[test]
    fn windows_with_traffic_are_events_and_full_ones_are_hits() {
        let start = Instant::now();
        let mut flow = Flow {
            limit: "wbps=1000 riops=10".parse().unwrap(),
            before: Usage::default(),
            since: start,
            counters: Counters::default(),
        };
        let used = |wbytes: u64, rios: u64, rbytes: u64| {
            let text = format!(
                "8:0 rbytes=9 wbytes=9 rios=9 wios=9 dbytes=0 dios=0\n\
                 8:16 rbytes={rbytes} wbytes={wbytes} rios={rios} wios=5 dbytes=0 dios=0\n"
            );
            Usage::parse(&text, "8:16")
        };
        let mut after = |seconds: u64, usage: Usage| {
            flow.close(usage, start + Duration::from_secs(seconds));
            (flow.counters.matched, flow.counters.injected)
        };
        assert_eq!(after(1, used(1000, 0, 0)), (1, 1), "full");
        assert_eq!(after(2, used(1100, 0, 0)), (2, 1), "a tenth");
        assert_eq!(after(3, used(1100, 0, 0)), (2, 1), "nothing");
        assert_eq!(after(4, used(1100, 0, 1 << 30)), (2, 1), "not limited");
        assert_eq!(after(5, used(1100, 9, 1 << 30)), (3, 2), "the other field");
        assert_eq!(after(7, used(1900, 9, 1 << 30)), (4, 2), "of two seconds");
        assert_eq!(after(8, Usage::default()), (4, 2), "the cgroup is gone");
    }

    #[test]
    fn of_a_few_operations_one_less_is_the_limit() {
        let start = Instant::now();
        let mut flow = Flow {
            limit: "wiops=4".parse().unwrap(),
            before: Usage::default(),
            since: start,
            counters: Counters::default(),
        };
        let mut after = |seconds: u64, wios: u64| {
            let usage = Usage::parse(&format!("8:0 wios={wios}\n"), "8:0");
            flow.close(usage, start + Duration::from_secs(seconds));
            (flow.counters.matched, flow.counters.injected)
        };
        // As the kernel gives them out while a process wants more.
        assert_eq!(after(1, 3), (1, 1));
        assert_eq!(after(2, 5), (2, 1), "two are not it");
        assert_eq!(after(3, 5), (2, 1), "none is nothing");
        assert_eq!(after(5, 11), (3, 2), "three a second, of two seconds");
        // Windows are never exactly a second.
        let usage = Usage::parse("8:0 wios=14\n", "8:0");
        flow.close(usage, start + Duration::from_millis(6020));
        assert_eq!(flow.counters.injected, 3);
    }
}
