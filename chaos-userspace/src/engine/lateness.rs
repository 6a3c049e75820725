//! How late packets came off links, as the kernel has measured.

use std::{collections::HashMap, time::Duration};

use aya::maps::{MapData, PerCpuArray};
use chaos_common::link::late::{self, PLACES};

use super::{EngineError, RuleNumber, maps::failed};

/// Counters by [`late::place`].
type Places = [u64; PLACES as usize];

/// How long after they were due packets came off their link. Both times are bounds, powers of two of a
/// microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lateness {
    /// How many packets this is about.
    pub packets: u64,
    /// Half of them were late by at most so much.
    pub median: Duration,
    /// 99 of 100.
    pub p99: Duration,
}

impl Lateness {
    /// Of what was counted between two moments; `None` if that is nothing.
    fn between(before: &Places, after: &Places) -> Option<Self> {
        let mut counts = *after;
        for (count, before) in counts.iter_mut().zip(before) {
            *count = count.saturating_sub(*before);
        }
        let packets: u64 = counts.iter().sum();
        let percent = |percent: u64| {
            let wanted = (packets * percent).div_ceil(100);
            let mut found = 0;
            let place = (0..).zip(&counts).find_map(|(place, count)| {
                found += count;
                (found >= wanted).then_some(place)
            });
            Duration::from_micros(late::most_us(place.unwrap_or(PLACES - 1)))
        };
        (packets > 0).then(|| Self {
            packets,
            median: percent(50),
            p99: percent(99),
        })
    }
}

/// The counters of all links of this process, and what they had said when each of them began.
pub(super) struct Late {
    counts: PerCpuArray<MapData, u64>,
    before: HashMap<RuleNumber, Places>,
}

impl Late {
    /// By the map `LINKS_LATE`.
    pub(super) fn new(counts: PerCpuArray<MapData, u64>) -> Self {
        Self {
            counts,
            before: HashMap::new(),
        }
    }

    /// What comes off from now on is this link's.
    pub(super) fn begin(&mut self, number: RuleNumber) -> Result<(), EngineError> {
        self.before.insert(number, self.now()?);
        Ok(())
    }

    /// The link is gone.
    pub(super) fn forget(&mut self, number: RuleNumber) {
        self.before.remove(&number);
    }

    /// How late it was since its beginning.
    pub(super) fn of(&self, number: RuleNumber) -> Result<Option<Lateness>, EngineError> {
        let Some(before) = self.before.get(&number) else {
            return Ok(None);
        };
        Ok(Lateness::between(before, &self.now()?))
    }

    fn now(&self) -> Result<Places, EngineError> {
        let mut now = Places::default();
        for (place, count) in (0..).zip(&mut now) {
            let values = self.counts.get(&place, 0);
            let values = values.map_err(|error| failed("LINKS_LATE", &error))?;
            *count = values.iter().sum();
        }
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounds_of_what_has_come_since() {
        let mut before = Places::default();
        before[3] = 7;
        assert_eq!(Lateness::between(&before, &before), None);
        let mut after = before;
        after[0] = 49;
        after[6] = 49;
        after[10] = 1;
        after[20] = 1;
        let lateness = Lateness::between(&before, &after).unwrap();
        assert_eq!(lateness.packets, 100);
        assert_eq!(lateness.median, Duration::from_micros(64));
        assert_eq!(lateness.p99, Duration::from_micros(1024));
        after[0] += 1;
        let lateness = Lateness::between(&before, &after).unwrap();
        assert_eq!(lateness.median, Duration::from_micros(64));
        after[0] += 1;
        let lateness = Lateness::between(&before, &after).unwrap();
        assert_eq!(lateness.median, Duration::from_micros(1));
    }
}
