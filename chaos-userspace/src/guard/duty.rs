//! What a guard has to do, from what it sees: no I/O.

use std::time::Duration;

use crate::{
    journal::{Change, Lane, Patch},
    state::Owner,
};

/// A guard looks around at least so often.
const LOOK: Duration = Duration::from_millis(500);

/// What a guard sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Boot time.
    pub(super) now_ns: u64,
    /// Whose guard it is.
    pub(super) owner: Owner,
    /// The owner has ended, or has dismissed the guard.
    pub(super) gone: bool,
    /// Since the owner was heard. Does not run while the machine is suspended.
    pub(super) silent: Duration,
    /// The silence after which the owner counts as held.
    pub(super) lease: Duration,
    /// Faults are forbidden on this machine.
    pub(super) disabled: bool,
}

impl View {
    /// Whether the owner lives and says nothing.
    pub(super) fn is_held(&self) -> bool {
        !self.gone && self.silent >= self.lease
    }

    fn is_mine(&self, change: &Change) -> bool {
        change.owner() == self.owner
    }

    /// Whether a change has to be undone now.
    pub(super) fn is_due(&self, change: &Change) -> bool {
        self.is_mine(change)
            && (self.gone || self.is_held() || self.disabled || change.deadline_ns <= self.now_ns)
    }

    /// Whether a process has to get its own bytes back now. Until its owner has ended, the tender of
    /// clocks does that; and they are true without.
    pub(super) fn is_due_patch(&self, patch: &Patch) -> bool {
        patch.owner() == self.owner && self.gone
    }

    /// Whether devices of the owner's have to go now. Without it nobody sees to new ones, and its rules have
    /// ended.
    pub(super) fn is_due_lane(&self, lane: &Lane) -> bool {
        lane.owner() == self.owner && (self.gone || self.is_held() || self.disabled)
    }

    /// How long the guard may sleep, if nothing happens.
    pub(super) fn rest(&self, changes: &[Change]) -> Duration {
        let deadline = changes
            .iter()
            .filter(|change| self.is_mine(change))
            .map(|change| Duration::from_nanos(change.deadline_ns.saturating_sub(self.now_ns)))
            .min()
            .unwrap_or(LOOK);
        // What is due already could not be undone, and is tried again with the next look.
        let deadline = if deadline.is_zero() { LOOK } else { deadline };
        let lease = match self.lease.saturating_sub(self.silent) {
            Duration::ZERO => LOOK,
            left => left,
        };
        LOOK.min(deadline).min(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { pid: 7, start: 70 };

    fn change(deadline_ns: u64) -> Change {
        Change {
            owner_pid: OWNER.pid,
            owner_start: OWNER.start,
            deadline_ns,
            ..Change::default()
        }
    }

    fn view() -> View {
        View {
            now_ns: 1000,
            owner: OWNER,
            gone: false,
            silent: Duration::from_secs(1),
            lease: Duration::from_secs(5),
            disabled: false,
        }
    }

    #[test]
    fn whatever_comes_first_ends_a_change() {
        let later = change(1001);
        assert!(!view().is_due(&later));
        assert!(view().is_due(&change(1000)));
        assert!(
            View {
                gone: true,
                ..view()
            }
            .is_due(&later)
        );
        assert!(
            View {
                disabled: true,
                ..view()
            }
            .is_due(&later)
        );
        let silent = |silent| View { silent, ..view() };
        assert!(!silent(Duration::from_millis(4999)).is_due(&later));
        assert!(silent(Duration::from_secs(5)).is_due(&later));
    }

    #[test]
    fn what_others_hold_is_theirs() {
        let other = Change {
            owner_start: 71,
            ..change(0)
        };
        let end = View {
            gone: true,
            disabled: true,
            ..view()
        };
        assert!(!end.is_due(&other));
    }

    #[test]
    fn it_wakes_for_the_deadline_and_never_spins() {
        let in_a_tenth = change(1000 + 100_000_000);
        assert_eq!(view().rest(&[in_a_tenth]), Duration::from_millis(100));
        assert_eq!(view().rest(&[]), LOOK);
        assert_eq!(view().rest(&[change(5)]), LOOK);
        let silent = |silent| View { silent, ..view() };
        let left = silent(Duration::from_millis(4900)).rest(&[]);
        assert_eq!(left, Duration::from_millis(100));
        assert_eq!(silent(Duration::from_secs(9)).rest(&[]), LOOK);
    }
}
