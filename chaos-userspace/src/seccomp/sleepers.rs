//! Calls that wait: each is answered when its time has come, while all others are.
//!
//! What a successor has to know of them is on the board; what is only quicker to find here is not.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    board::{Board, Shared},
    notify::Listener,
    rule::Shot,
};

/// How many calls may wait at once.
pub(super) const SLEEPERS: usize = 8192;

/// How often it is looked for callers that were killed, while there is no room.
const SWEEP_NS: u64 = 1_000_000_000;

/// A call that waits. All zeros is none.
#[repr(C)]
pub(super) struct Sleeper {
    /// The kernel's number for it: written last, and 0 again before anything else is.
    id: AtomicU64,
    due: AtomicU64,
    ordinal: AtomicU64,
    rule: AtomicU32,
    answered: AtomicU32,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// The rule that has it end without being done, and the event's ordinal.
    pub(super) ends_by: Option<(u32, u64)>,
    /// Boot time until which it waits.
    pub(super) due: Option<u64>,
}

/// A call that has waited.
#[derive(Debug)]
pub(super) struct Woken {
    pub(super) place: u32,
    pub(super) id: u64,
    pub(super) fate: Fate,
    /// A guard before this one may have answered it.
    pub(super) again: bool,
    pub(super) shot: Option<Shot>,
}

/// The guard's view of them.
pub(super) struct Sleepers {
    board: Arc<Shared>,
    /// By due time, with place and id.
    queue: BinaryHeap<Reverse<(u64, u32, u64)>>,
    free: Vec<u32>,
    shots: HashMap<u32, Shot>,
    swept: u64,
}

impl Sleeper {
    fn fate(&self) -> Fate {
        let rule = self.rule.load(Relaxed);
        Fate {
            ends_by: (rule != Board::NO_RULE).then(|| (rule, self.ordinal.load(Relaxed))),
            due: Some(self.due.load(Relaxed)),
        }
    }
}

impl Sleepers {
    /// Those that a guard before this one has left.
    pub(super) fn find(board: &Arc<Shared>) -> Self {
        let mut found = Self {
            board: Arc::clone(board),
            queue: BinaryHeap::new(),
            free: Vec::new(),
            shots: HashMap::new(),
            swept: 0,
        };
        for (place, sleeper) in (0..).zip(&board.sleepers) {
            match sleeper.id.load(Relaxed) {
                0 => found.free.push(place),
                id => found
                    .queue
                    .push(Reverse((sleeper.due.load(Relaxed), place, id))),
            }
        }
        // The lowest first: memory that is not needed is not touched.
        found.free.reverse();
        found
    }

    /// Whether a call waits already.
    pub(super) fn has(&self, id: u64) -> bool {
        self.queue.iter().any(|Reverse((.., waits))| *waits == id)
    }

    /// Whether one more may wait.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Has a call wait. `false` without room.
    pub(super) fn put(&mut self, id: u64, fate: Fate, shot: Option<Shot>) -> bool {
        let (Some(due), Some(place)) = (fate.due, self.free.pop()) else {
            return false;
        };
        let sleeper = self.at(place);
        let (rule, ordinal) = fate.ends_by.unwrap_or((Board::NO_RULE, 0));
        sleeper.due.store(due, Relaxed);
        sleeper.rule.store(rule, Relaxed);
        sleeper.ordinal.store(ordinal, Relaxed);
        sleeper.answered.store(0, Relaxed);
        sleeper.id.store(id, Relaxed);
        self.queue.push(Reverse((due, place, id)));
        if let Some(shot) = shot {
            self.shots.insert(place, shot);
        }
        true
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse((due, ..))| *due)
    }

    /// The next one that is due by then, to be answered now.
    pub(super) fn wake(&mut self, until: u64) -> Option<Woken> {
        while self.next().is_some_and(|due| due <= until) {
            let Reverse((_, place, id)) = self.queue.pop()?;
            if self.at(place).id.load(Relaxed) == id {
                return Some(self.woken(place, id));
            }
        }
        None
    }

    /// Those whose callers were killed, now and then.
    pub(super) fn sweep(&mut self, now: u64, listener: &Listener) -> Vec<Woken> {
        if now < self.swept + SWEEP_NS {
            return Vec::new();
        }
        self.swept = now;
        let gone: Vec<_> = self
            .queue
            .iter()
            .filter(|Reverse((_, _, id))| !listener.is_waiting(*id))
            .map(|Reverse((_, place, id))| (*place, *id))
            .filter(|(place, id)| self.at(*place).id.load(Relaxed) == *id)
            .collect();
        gone.into_iter()
            .map(|(place, id)| self.woken(place, id))
            .collect()
    }

    /// Forgets one that has been answered.
    pub(super) fn forget(&mut self, place: u32) {
        self.at(place).id.store(0, Relaxed);
        self.free.push(place);
    }

    fn woken(&mut self, place: u32, id: u64) -> Woken {
        let shot = self.shots.remove(&place);
        let sleeper = self.at(place);
        Woken {
            place,
            id,
            fate: sleeper.fate(),
            again: sleeper.answered.swap(1, Relaxed) != 0,
            shot,
        }
    }

    fn at(&self, place: u32) -> &Sleeper {
        &self.board.sleepers[place as usize % SLEEPERS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(due: u64, ends_by: Option<(u32, u64)>) -> Fate {
        Fate {
            ends_by,
            due: Some(due),
        }
    }

    #[test]
    fn they_wake_in_the_order_of_their_times_also_for_a_successor() {
        let board = Arc::new(Shared::create(&[]).unwrap());
        let mut first = Sleepers::find(&board);
        assert!(first.put(11, fate(300, None), None));
        assert!(first.put(12, fate(100, Some((3, 7))), None));
        assert!(first.put(13, fate(200, None), None));
        assert_eq!((first.next(), first.has(13)), (Some(100), true));
        assert!(first.wake(99).is_none());
        let woken = first.wake(250).unwrap();
        assert_eq!((woken.id, woken.again), (12, false));
        assert_eq!(woken.fate, fate(100, Some((3, 7))));
        // Killed before it has said that this is done.
        let mut second = Sleepers::find(&board);
        let woken = second.wake(250).unwrap();
        assert_eq!((woken.id, woken.again), (12, true));
        second.forget(woken.place);
        let ids: Vec<u64> = std::iter::from_fn(|| {
            let woken = second.wake(u64::MAX)?;
            second.forget(woken.place);
            Some(woken.id)
        })
        .collect();
        assert_eq!(ids, [13, 11]);
        assert!(Sleepers::find(&board).next().is_none());
    }

    #[test]
    fn there_is_room_for_so_many() {
        let board = Arc::new(Shared::create(&[]).unwrap());
        let mut sleepers = Sleepers::find(&board);
        for id in 1..=SLEEPERS as u64 {
            assert!(sleepers.has_room() && sleepers.put(id, fate(id, None), None));
        }
        assert!(!sleepers.has_room() && !sleepers.put(1, fate(1, None), None));
        let woken = sleepers.wake(1).unwrap();
        sleepers.forget(woken.place);
        assert!(sleepers.put(9999, fate(5, None), None));
    }
}
