//! What a fault does to clocks, before it has found a process.

use serde::{Deserialize, Serialize};

use super::control::{Base, Bend, Entry};
use crate::experiment::Clock;

/// Which clocks, and how they are bent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub(super) bases: Vec<Base>,
    pub(super) bend: Bend,
    /// Whether clocks that never run backwards may do so here.
    pub(super) backwards: bool,
}

const fn bases(clock: Clock) -> &'static [Base] {
    match clock {
        Clock::Realtime => &[Base::Realtime, Base::Tai],
        Clock::Monotonic => &[Base::Monotonic, Base::Raw],
        Clock::Boottime => &[Base::Boottime],
    }
}

impl Wanted {
    fn new(clocks: &[Clock], bend: Bend) -> Self {
        Self {
            bases: clocks
                .iter()
                .flat_map(|clock| bases(*clock))
                .copied()
                .collect(),
            bend,
            backwards: true,
        }
    }

    /// So many nanoseconds added.
    pub fn offset(clocks: &[Clock], offset_ns: i64) -> Self {
        let bend = Bend {
            offset: offset_ns,
            ..Bend::default()
        };
        Self::new(clocks, bend)
    }

    /// So many times as fast, in billionths; 0 stands still.
    pub fn speed(clocks: &[Clock], billionths: u64) -> Self {
        // Below 2^64 for speeds below 2^34, and the quotient below 2^31 for those that are allowed.
        let scaled = (u128::from(billionths) << 32) / 1_000_000_000;
        let bend = Bend {
            rate: i64::try_from(scaled).unwrap_or(i64::MAX) - (1 << 32),
            flags: Entry::SPEEDS,
            ..Bend::default()
        };
        Self::new(clocks, bend)
    }

    /// So many nanoseconds added at once, and again each so often, at most so many times.
    pub fn step(clocks: &[Clock], step_ns: i64, every_ns: i64, times: u64) -> Self {
        let bend = Bend {
            step: step_ns,
            every: every_ns,
            times: i64::try_from(times).unwrap_or(i64::MAX),
            flags: Entry::STEPS,
            ..Bend::default()
        };
        Self::new(clocks, bend)
    }

    /// The same, where a process that is found late must not see its clock run backwards.
    #[must_use]
    pub fn never_backwards(mut self) -> Self {
        self.backwards = false;
        self
    }

    /// Whether a process that is found late needs a beginning of its own.
    pub(super) fn needs_own_start(&self) -> bool {
        !self.backwards && self.bend.flags & Entry::SPEEDS != 0
    }
}
