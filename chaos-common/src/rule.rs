//! Rules as the kernel sees them, and the keys and values of the maps that hold them.

use crate::limits::{PATH_FILTER_BYTES, RULES_PER_TARGET, TARGET_LEVELS};

/// A place where decisions are taken. The numbers are map keys and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Hook {
    /// A file is opened, or created by an open.
    FileOpen = 1,
    /// A packet reaches a socket.
    NetIngress = 2,
}

/// Bits of [`RuleConfig::flags`].
pub mod flags {
    /// Decide and count, but let the event pass.
    pub const SHADOW: u32 = 1;
    /// The rule has a [`crate::PathFilter`].
    pub const PATH: u32 = 1 << 1;
    /// Opens that execve makes count as well.
    pub const INCLUDE_EXEC: u32 = 1 << 2;
}

/// One fault for one target. Replaced whole, never written by a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RuleConfig {
    /// Key of the decisions by chance.
    pub seed: u64,
    /// Injects when a 32-bit roll is below it: 0 is never, 2^32 is always.
    pub threshold: u64,
    /// Boot time in nanoseconds (`bpf_ktime_get_boot_ns`) before which nothing is injected.
    pub start_ns: u64,
    /// Boot time in nanoseconds from which nothing is injected any more.
    pub deadline_ns: u64,
    /// Length of the active part of each pulse in nanoseconds.
    pub pulse_active_ns: u64,
    /// Length of a whole pulse in nanoseconds; 0 for no pulses.
    pub pulse_every_ns: u64,
    /// First ordinal that may be hit, from 1.
    pub when_first: u64,
    /// Last ordinal that may be hit; `u64::MAX` for no end.
    pub when_last: u64,
    /// Every so many ordinals from the first one on; at least 1.
    pub when_step: u64,
    /// At most so many injections; `u64::MAX` for no limit.
    pub times: u64,
    /// Which fault of its experiment this is: with the seed it makes decisions by chance
    /// repeatable, whatever the rule's number on this node is.
    pub identity: u32,
    /// Index of the plan's word in the map of plans.
    pub plan: u32,
    /// [`flags`]
    pub flags: u32,
    /// What an injection does, by kind: an errno as a positive number, for example.
    pub effect: u32,
}

impl RuleConfig {
    /// Injects on every event, for ever, with no effect set yet: what self-tests and tests start
    /// from. No fault is compiled to this, because each has an end.
    pub const ALWAYS: Self = Self {
        seed: 0,
        threshold: 1 << 32,
        start_ns: 0,
        deadline_ns: u64::MAX,
        pulse_active_ns: 0,
        pulse_every_ns: 0,
        when_first: 1,
        when_last: u64::MAX,
        when_step: 1,
        times: u64::MAX,
        identity: 0,
        plan: 0,
        flags: 0,
        effect: 0,
    };
}

/// What a program remembers of a rule. Created with the rule, never rewritten by user space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleState {
    /// Events that passed the filters so far: the ordinal of the last one.
    pub ordinal: u64,
    /// Injections that were asked of the budget so far, granted or not.
    pub spent: u64,
}

/// What a program counts for a rule, per CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Events of the rule's hook in its target, before the deadline.
    pub considered: u64,
    /// Of these, events that passed the filters while the rule was live.
    pub matched: u64,
    /// Of these, events that were hit.
    pub injected: u64,
    /// Events that would have been hit, in shadow.
    pub would_inject: u64,
    /// Events that passed because the budget was spent.
    pub over_budget: u64,
    /// Events after the deadline.
    pub expired: u64,
    /// Events that passed because something could not be read.
    pub error: u64,
}

/// Who is hit, on which hook: the key that leads to a [`RuleList`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TargetKey {
    /// A cgroup id, or what [`TargetKey::process`] makes of a process.
    pub id: u64,
    /// [`Hook`]
    pub hook: u32,
    /// [`TargetKey::CGROUP`] or [`TargetKey::PROCESS`]
    pub scope: u32,
}

impl TargetKey {
    /// `id` is a cgroup id.
    pub const CGROUP: u32 = 0;
    /// `id` is a process.
    pub const PROCESS: u32 = 1;
    /// /proc/PID/stat counts a process's start in ticks of this length (`USER_HZ` is 100).
    pub const TICK_NS: u64 = 10_000_000;

    /// A process by its pid in the first pid namespace and its start since boot in ticks: a number
    /// that the kernel gives out again belongs to somebody else.
    #[inline(always)]
    #[must_use]
    pub const fn process(pid: u32, start_ticks: u64) -> u64 {
        ((pid as u64) << 32) | (start_ticks & 0xffff_ffff)
    }
}

/// The rules of one target on one hook, in the order in which they are evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleList {
    /// How many of `rules` are in use.
    pub len: u32,
    /// Always zero.
    pub padding: u32,
    /// Rule numbers.
    pub rules: [u32; RULES_PER_TARGET],
}

/// What a program asks first: whether there is anything to look for at all on its hook, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Gate {
    /// Depths of target cgroups in the tree, the first `levels_len` of them; the root is 0, and
    /// `u32::MAX` is a free slot.
    pub levels: [u32; TARGET_LEVELS],
    /// How many depths are in use.
    pub levels_len: u32,
    /// How many processes are targets.
    pub processes: u32,
    /// How many rules want the path.
    pub paths: u32,
    /// Always zero.
    pub padding: u32,
}

/// Which paths a rule wants, as the target sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PathFilter {
    /// Bytes in use.
    pub len: u32,
    /// [`PathFilter::FILE`] or [`PathFilter::SUBTREE`]
    pub kind: u32,
    /// The path, filled up with zeros; a subtree ends in a slash.
    pub words: [u64; PATH_FILTER_BYTES / 8],
    /// Which bits of `words` count: those of the path's own bytes. A program that compares by them
    /// needs no branch for the last word, and branches are what a verifier pays for.
    pub masks: [u64; PATH_FILTER_BYTES / 8],
}

impl PathFilter {
    /// Exactly this path.
    pub const FILE: u32 = 0;
    /// This directory and everything below it.
    pub const SUBTREE: u32 = 1;

    /// Packs a path; `None` when it is empty or longer than the map's value.
    #[must_use]
    pub fn new(path: &[u8], kind: u32) -> Option<Self> {
        if path.is_empty() || path.len() >= PATH_FILTER_BYTES {
            return None;
        }
        let mut filter = Self {
            len: u32::try_from(path.len()).ok()?,
            kind,
            words: [0; PATH_FILTER_BYTES / 8],
            masks: [0; PATH_FILTER_BYTES / 8],
        };
        for (index, chunk) in path.chunks(8).enumerate() {
            let mut bytes = [0_u8; 8];
            let mut mask = [0_u8; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            mask[..chunk.len()].fill(0xff);
            // The program loads the same bytes as a word of this machine.
            filter.words[index] = u64::from_ne_bytes(bytes);
            filter.masks[index] = u64::from_ne_bytes(mask);
        }
        Some(filter)
    }
}

const _: () = assert!(size_of::<RuleConfig>() == 96);
const _: () = assert!(size_of::<RuleState>() == 16);
const _: () = assert!(size_of::<Counters>() == 56);
const _: () = assert!(size_of::<TargetKey>() == 16);
const _: () = assert!(size_of::<RuleList>() == 8 + 4 * RULES_PER_TARGET);
const _: () = assert!(size_of::<Gate>() == 4 * TARGET_LEVELS + 16);
const _: () = assert!(size_of::<PathFilter>() == 8 + 2 * PATH_FILTER_BYTES);

#[cfg(feature = "user")]
mod user {
    use super::{Counters, Gate, PathFilter, RuleConfig, RuleList, RuleState, TargetKey};

    macro_rules! plain_bytes {
        ($($name:ty),*) => {$(
            // SAFETY: repr(C), integers only, no implicit padding (sizes asserted above).
            unsafe impl aya::Pod for $name {}
        )*};
    }
    plain_bytes!(
        Counters, Gate, PathFilter, RuleConfig, RuleList, RuleState, TargetKey
    );
}
