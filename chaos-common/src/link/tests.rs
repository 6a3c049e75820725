extern crate std;

use core::cell::{Cell, RefCell};

use std::vec::Vec;

use super::*;

/// What programs keep in a map.
#[derive(Default)]
struct Memory {
    last: RefCell<[u32; Stream::COUNT]>,
    bad: Cell<bool>,
    busy_until: Cell<u64>,
    packets: Cell<u64>,
}

impl LinkMemory for Memory {
    fn last(&self, stream: Stream) -> u32 {
        self.last.borrow()[stream as usize]
    }

    fn keep(&self, stream: Stream, number: u32) {
        self.last.borrow_mut()[stream as usize] = number;
    }

    fn is_bad(&self) -> bool {
        self.bad.get()
    }

    fn turn(&self, bad: bool) {
        self.bad.set(bad);
    }

    fn count(&self) -> u64 {
        self.packets.set(self.packets.get() + 1);
        self.packets.get()
    }

    fn busy_until(&self) -> u64 {
        self.busy_until.get()
    }

    fn occupy(&self, seen: u64, next: u64) -> Result<(), u64> {
        assert_eq!(seen, self.busy_until.get());
        self.busy_until.set(next);
        Ok(())
    }

    /// A straight line, from -1 to 1 in units of the jitter.
    fn table(&self, _distribution: u32, index: u32) -> i32 {
        i32::try_from(index).unwrap() * 4 - 8192
    }
}

const ALL: u64 = 1 << 32;
const MS: u64 = 1_000_000;

fn share(percent: u64) -> u64 {
    ALL * percent / 100
}

/// Sends so many packets of 1000 bytes, one each millisecond.
fn sent(link: &LinkConfig, count: u64) -> Vec<Travel> {
    let memory = Memory::default();
    (1..=count)
        .map(|ordinal| {
            let packet = Passage {
                seed: 42,
                identity: 0,
                ordinal,
                now_ns: 1000 * MS + ordinal * MS,
                bytes: 1000,
            };
            travel(link, &packet, &memory)
        })
        .collect()
}

/// Five standard deviations of a binomial.
#[track_caller]
fn is_share(found: usize, all: u64, percent: u64) {
    let [found, all, percent] =
        [found as u64, all, percent].map(|number| f64::from(u32::try_from(number).unwrap()));
    let mean = all * percent / 100.0;
    let bound = 5.0 * (mean * (1.0 - percent / 100.0)).sqrt();
    assert!(
        (found - mean).abs() <= bound,
        "{found} of {all}, not {percent}%"
    );
}

#[test]
fn what_is_asked_for_happens_as_often_as_asked_for() {
    let link = LinkConfig {
        loss: share(10),
        duplicate: share(20),
        corrupt: share(30),
        reorder: share(25),
        delay_ns: MS,
        ..LinkConfig::default()
    };
    let all = sent(&link, 100_000);
    let lost = all.iter().filter(|travel| travel.lost).count();
    is_share(lost, 100_000, 10);
    let arrived = 100_000 - lost as u64;
    is_share(
        all.iter().filter(|travel| travel.duplicate).count(),
        arrived,
        20,
    );
    is_share(
        all.iter().filter(|travel| travel.corrupt).count(),
        arrived,
        30,
    );
    let early = all
        .iter()
        .filter(|travel| !travel.lost && travel.delay_ns == 0);
    is_share(early.count(), arrived, 25);
    assert_eq!(all, sent(&link, 100_000), "the same again");
}

#[test]
fn nothing_is_asked_for_and_nothing_happens() {
    assert!(
        sent(&LinkConfig::default(), 1000)
            .iter()
            .all(|travel| *travel == Travel::default())
    );
}

#[test]
fn each_so_manieth_is_lost() {
    let link = LinkConfig {
        every: 7,
        ..LinkConfig::default()
    };
    let lost: Vec<usize> = sent(&link, 21)
        .iter()
        .enumerate()
        .filter(|(_, travel)| travel.lost)
        .map(|(index, _)| index + 1)
        .collect();
    assert_eq!(lost, [7, 14, 21]);
}

/// Gilbert's model: a burst ends with each packet with the chance r, so its mean length is 1 / r, and as much is
/// lost as the link is bad, p / (p + r).
#[test]
fn bursts_are_as_long_as_the_model_has_them() {
    let link = LinkConfig {
        to_bad: share(2),
        to_good: share(20),
        loss_in_bad: ALL,
        ..LinkConfig::default()
    };
    let all = sent(&link, 200_000);
    let mut bursts = Vec::new();
    let mut length = 0_u32;
    for travel in &all {
        if travel.lost {
            length += 1;
        } else if length > 0 {
            bursts.push(length);
            length = 0;
        }
    }
    let count = f64::from(u32::try_from(bursts.len()).unwrap());
    let mean = f64::from(bursts.iter().sum::<u32>()) / count;
    assert!((4.7..5.3).contains(&mean), "{mean}");
    let lost = f64::from(bursts.iter().sum::<u32>()) / 200_000.0;
    assert!((lost - 2.0 / 22.0).abs() < 0.006, "{lost}");
    // A geometric distribution: a fifth ends after the first packet.
    let single =
        f64::from(u32::try_from(bursts.iter().filter(|length| **length == 1).count()).unwrap());
    assert!((single / count - 0.2).abs() < 0.03, "{}", single / count);
}

#[test]
fn delays_lie_where_their_distribution_has_them() {
    let even = LinkConfig {
        delay_ns: 50 * MS,
        jitter_ns: 10 * MS,
        ..LinkConfig::default()
    };
    let mut delays: Vec<u64> = sent(&even, 10_000)
        .iter()
        .map(|travel| travel.delay_ns)
        .collect();
    delays.sort_unstable();
    assert!(delays[0] >= 40 * MS && delays[9_999] < 60 * MS);
    for (place, at) in [(1_000, 42), (5_000, 50), (9_000, 58)] {
        assert!(
            delays[place].abs_diff(at * MS) < MS / 2,
            "{place}: {}",
            delays[place]
        );
    }
    let table = LinkConfig {
        distribution: distribution::NORMAL,
        ..even
    };
    let from_table: Vec<u64> = sent(&table, 10_000)
        .iter()
        .map(|travel| travel.delay_ns)
        .collect();
    assert!(
        from_table
            .iter()
            .all(|delay| (40 * MS..=60 * MS).contains(delay))
    );
    let wide = LinkConfig {
        delay_ns: MS,
        jitter_ns: LinkConfig::LONGEST_NS,
        ..LinkConfig::default()
    };
    let delays = sent(&wide, 1000);
    is_share(
        delays.iter().filter(|travel| travel.delay_ns == 0).count(),
        1000,
        50,
    );
    assert!(
        delays
            .iter()
            .all(|travel| travel.delay_ns <= LinkConfig::LONGEST_NS + MS)
    );
}

#[test]
fn what_depends_on_the_one_before_is_near_it() {
    let step = |correlation| {
        let link = LinkConfig {
            delay_ns: 50 * MS,
            jitter_ns: 10 * MS,
            correlation,
            ..LinkConfig::default()
        };
        let delays = sent(&link, 10_000);
        let steps = delays
            .windows(2)
            .map(|two| two[0].delay_ns.abs_diff(two[1].delay_ns));
        steps.sum::<u64>() / 9_999
    };
    let free = step(0);
    // Of two even numbers a third of the width.
    assert!(free.abs_diff(20 * MS / 3) < MS / 4, "{free}");
    assert!(step(u32::MAX / 10 * 9) < free / 5);
}

#[test]
fn a_rate_lets_through_what_it_says_after_its_burst() {
    // A packet takes two milliseconds, and one comes each.
    let link = LinkConfig {
        byte_rate: 500_000,
        queue_ns: 20 * MS,
        ..LinkConfig::default()
    };
    let all = sent(&link, 1000);
    assert_eq!(all[0].delay_ns, 2 * MS, "until all of it is on the wire");
    assert_eq!(all[1].delay_ns, 3 * MS);
    assert!(all.iter().all(|travel| travel.delay_ns <= 20 * MS));
    let through = all.iter().filter(|travel| !travel.lost).count();
    assert!((500..=511).contains(&through), "{through}");
    let burst = LinkConfig {
        burst_ns: 10 * MS,
        ..link
    };
    let first = sent(&burst, 20);
    // Nothing was sent before, so it has all of the burst: it runs out by a millisecond with each.
    assert!(
        first[..5].iter().all(|travel| travel.delay_ns == 0),
        "{first:?}"
    );
    assert!(first[19].delay_ns > 5 * MS);
}
