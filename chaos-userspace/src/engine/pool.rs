//! Numbers of a fixed range that are handed out and given back.

/// Hands out the lowest free number.
#[derive(Debug)]
pub(super) struct Pool {
    /// Given back, and not handed out since; the lowest is last.
    free: Vec<u32>,
    /// Handed out never so far.
    fresh: std::ops::Range<u32>,
}

impl Pool {
    pub(super) fn new(size: u32) -> Self {
        Self {
            free: Vec::new(),
            fresh: 0..size,
        }
    }

    /// `None` when all are out.
    pub(super) fn take(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| self.fresh.next())
    }

    pub(super) fn give_back(&mut self, number: u32) {
        let place = self.free.partition_point(|other| *other > number);
        self.free.insert(place, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_handed_out_once_and_again_when_they_came_back() {
        let mut pool = Pool::new(3);
        assert_eq!(
            [pool.take(), pool.take(), pool.take(), pool.take()],
            [Some(0), Some(1), Some(2), None]
        );
        pool.give_back(2);
        pool.give_back(0);
        assert_eq!(
            [pool.take(), pool.take(), pool.take()],
            [Some(0), Some(2), None]
        );
    }
}
