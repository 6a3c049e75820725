//! What `scope=thread` remembers: how many events each thread had, by rule.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use chaos_common::limits::THREADS;

/// Twice as many as are ever used, so that a free place is near.
const PLACES: usize = 2 * THREADS as usize;

/// A table with open addresses in shared memory, all zeros when it is empty. One process writes it at
/// a time; nothing is ever taken out.
#[repr(C)]
pub(super) struct Threads {
    used: AtomicU64,
    places: [Place; PLACES],
}

#[repr(C)]
struct Place {
    key: AtomicU64,
    count: AtomicU64,
}

impl Threads {
    /// Counts one more event of a thread for a rule; `None` when there is no room for it.
    ///
    /// A thread is its tid with its start in ticks: the kernel gives a tid out again only when all
    /// others are used up, which takes longer than a tick.
    pub(super) fn next(&self, rule: u32, tid: u32, start: u64) -> Option<u64> {
        // No tid is 0, so that no key is. Six bits of rule, 22 of tid, and 21 years of start.
        let key = (start << 28) | (u64::from(tid & 0x3f_ffff) << 6) | u64::from(rule & 0x3f);
        let hash = usize::try_from(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).unwrap_or(0);
        for step in 0..PLACES {
            let place = &self.places[(hash + step) % PLACES];
            match place.key.load(Relaxed) {
                found if found == key => {}
                0 if self.used.load(Relaxed) < u64::from(THREADS) => {
                    self.used.fetch_add(1, Relaxed);
                    place.key.store(key, Relaxed);
                }
                0 => return None,
                _ => continue,
            }
            return Some(place.count.fetch_add(1, Relaxed) + 1);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Box<Threads> {
        // SAFETY: all zeros is an empty table.
        unsafe { Box::new_zeroed().assume_init() }
    }

    #[test]
    fn each_thread_is_counted_for_itself() {
        let threads = empty();
        for turn in 1..=3 {
            for (rule, tid, start) in [(0, 7, 70), (1, 7, 70), (0, 8, 70), (0, 7, 71)] {
                assert_eq!(threads.next(rule, tid, start), Some(turn));
            }
        }
    }

    #[test]
    fn who_finds_no_room_is_told_so() {
        let threads = empty();
        for tid in 1..=THREADS {
            assert_eq!(threads.next(0, tid, 1), Some(1));
        }
        assert_eq!(threads.next(0, THREADS + 1, 1), None);
        assert_eq!(threads.next(0, THREADS, 1), Some(2));
    }
}
