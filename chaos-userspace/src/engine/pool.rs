//! Numbers of a fixed range that are handed out and given back.

use std::{collections::VecDeque, ops::Range};

/// Hands out what came back last of all: a program that began before a rule was taken away may still
/// write into its place, and nobody else is to have it so soon.
#[derive(Debug)]
pub(super) struct Pool {
    /// Handed out never so far.
    fresh: Range<u32>,
    /// Came back, the oldest first.
    free: VecDeque<u32>,
}

impl Pool {
    pub(super) fn new(size: u32) -> Self {
        Self {
            fresh: 0..size,
            free: VecDeque::new(),
        }
    }

    /// `None` when all are out.
    pub(super) fn take(&mut self) -> Option<u32> {
        self.fresh.next().or_else(|| self.free.pop_front())
    }

    pub(super) fn give_back(&mut self, number: u32) {
        self.free.push_back(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_again_as_late_as_can_be() {
        let mut pool = Pool::new(3);
        assert_eq!([pool.take(), pool.take()], [Some(0), Some(1)]);
        pool.give_back(1);
        pool.give_back(0);
        let next = [pool.take(), pool.take(), pool.take(), pool.take()];
        assert_eq!(next, [Some(2), Some(1), Some(0), None]);
    }
}
