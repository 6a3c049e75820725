//! Sampled events of the kernel, sorted by fault and kept for a while.

use std::{collections::VecDeque, time::Duration};

use chaos_common::{Event, Hook};

use super::{Flow, Sample, Subject, Trail, stack::Mappings};
use crate::{
    boot,
    engine::{Lateness, Record},
};

/// The hooks whose events are packets; all others are of tasks.
const OF_PACKETS: [Hook; 6] = [
    Hook::NetEgress,
    Hook::Dns,
    Hook::NetEgressSkb,
    Hook::NetIngress,
    Hook::NetLink,
    Hook::NetLinkIn,
];

/// The newest events of one fault.
#[derive(Debug, Default)]
pub(super) struct Kept {
    events: VecDeque<Sample>,
    sampled: u64,
    /// What the kernel has recorded so far.
    pub(super) record: Record,
    /// [`super::FaultStatus::uncounted`]
    pub(super) uncounted: u64,
    /// [`super::FaultStatus::late`]
    pub(super) late: Option<Lateness>,
}

impl Kept {
    /// Keeps one more, and forgets the oldest.
    pub(super) fn add(&mut self, event: &Event) {
        if self.events.len() == Trail::EVENTS {
            self.events.pop_front();
        }
        self.sampled += 1;
        self.events.push_back(sample(event));
        if let Some(old) = self.events.len().checked_sub(Trail::STACKS + 1) {
            self.events[old].stack = Vec::new();
        }
    }

    /// Keeps the stack of one of the newest events.
    pub(super) fn add_stack(&mut self, ordinal: u64, frames: &[u64], mappings: &mut Mappings) {
        let newest = self.events.iter_mut().rev().take(Trail::STACKS);
        for sample in newest.filter(|sample| sample.ordinal == ordinal) {
            if let Subject::Task { pid, .. } = sample.subject {
                sample.stack = mappings.frames(pid, sample.since_boot, frames);
            }
        }
    }

    /// All of it.
    pub(super) fn trail(&self, lost: u64) -> Trail {
        Trail {
            events: self.events.iter().cloned().collect(),
            sampled: self.sampled,
            lost,
            ordinals: self.record.ordinals.clone(),
            truncated: self.record.missing != 0,
        }
    }
}

fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn sample(event: &Event) -> Sample {
    let subject = if OF_PACKETS.iter().any(|hook| *hook as u32 == event.hook) {
        Subject::Packet {
            bytes: u32::try_from(event.detail).unwrap_or(u32::MAX),
            flow: Flow::read(&bytes_of(&event.head)),
        }
    } else {
        let bytes = bytes_of(&event.comm);
        let name = bytes.split(|byte| *byte == 0).next().unwrap_or(&[]);
        Subject::Task {
            pid: event.pid,
            tid: event.tid,
            comm: String::from_utf8_lossy(name).into_owned(),
            call: u32::try_from(event.detail).ok(),
        }
    };
    let since_boot = Duration::from_nanos(event.time_ns);
    Sample {
        ordinal: event.ordinal,
        at: boot::time_of_day(since_boot),
        since_boot,
        cgroup: event.cgroup,
        subject,
        stack: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_all_are_counted() {
        let mut kept = Kept::default();
        for ordinal in 1..=200 {
            kept.add(&Event {
                ordinal,
                hook: Hook::FileOpenLsm as u32,
                detail: u64::MAX,
                comm: [*b"nginx\0ga", *b"rbage\0\0\0"].map(u64::from_ne_bytes),
                ..Event::default()
            });
            // No process has the number 0.
            kept.add_stack(ordinal, &[ordinal, 5], &mut Mappings::default());
        }
        // Its event is not among the newest any more.
        kept.add_stack(100, &[7], &mut Mappings::default());
        let trail = kept.trail(3);
        assert_eq!((trail.sampled, trail.lost), (200, 3));
        assert_eq!(trail.events.len(), Trail::EVENTS);
        assert_eq!(trail.events.last().unwrap().ordinal, 200);
        let Subject::Task { comm, call, .. } = &trail.events[0].subject else {
            panic!("{trail:?}");
        };
        assert_eq!((comm.as_str(), *call), ("nginx", None));
        let stacks: Vec<&Sample> = trail
            .events
            .iter()
            .filter(|s| !s.stack.is_empty())
            .collect();
        assert_eq!(stacks.len(), Trail::STACKS, "stacks of the newest only");
        assert_eq!(stacks[0].ordinal, 185);
        let frame = &stacks[0].stack[0];
        assert_eq!((frame.address, &frame.place), (185, &None));
    }
}
