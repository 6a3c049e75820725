//! Rules as the kernel sees them, and the keys and values of the maps that hold them.

use crate::{
    Decision,
    limits::{EXCLUDE_DEPTHS, RULES_PER_TARGET, TARGET_LEVELS},
};

/// A place where decisions are taken, by one mechanism: programs of two mechanisms that see the same
/// event must not both ask the same rules. The numbers are map keys and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Hook {
    /// Something happens to a file ([`crate::FileEvent`]): BPF LSM.
    FileOpenLsm = 1,
    /// A packet reaches a socket.
    NetIngress = 2,
    /// Something happens to a file: `fmod_ret`.
    FileOpenFmodRet = 3,
    /// A system call: `fmod_ret` on the call itself.
    SyscallFmodRet = 4,
    /// A system call: a kprobe on the call itself.
    SyscallKprobe = 5,
    /// What a system call asks BPF LSM.
    SyscallSecurityLsm = 6,
    /// What a system call asks the security modules: `fmod_ret`.
    SyscallSecurityFmodRet = 7,
    /// An object of a slab cache is allocated: `fmod_ret`.
    MemSlab = 8,
    /// Pages are allocated: `fmod_ret`.
    MemPage = 9,
    /// A process asks for memory to be set aside for it: `fmod_ret`.
    MemMmap = 10,
    /// An object of a slab cache is allocated: a kprobe.
    MemSlabKprobe = 14,
    /// Pages are allocated: a kprobe.
    MemPageKprobe = 15,
    /// A disk is asked for something: `fmod_ret`.
    DiskError = 16,
    /// A disk is asked for something: a kprobe.
    DiskErrorKprobe = 17,
    /// A socket is connected or bound, or sends to somebody ([`crate::ConnectOp`]).
    NetConnect = 20,
    /// A packet leaves by a network device of its sender's namespace.
    NetEgress = 23,
    /// A packet leaves a socket: `cgroup_skb`.
    NetEgressSkb = 24,
    /// A packet leaves by a network device, for a link.
    NetLink = 25,
    /// A packet arrives at a network device of its receiver's namespace, for a link.
    NetLinkIn = 26,
    /// An answer of a DNS server arrives at a network device of its receiver's namespace.
    Dns = 27,
}

impl Hook {
    /// Whether packets are asked about at network devices, where what is no target's by its socket can be one's by
    /// its namespace.
    #[must_use]
    pub const fn is_of_devices(self) -> bool {
        matches!(
            self,
            Self::NetEgress | Self::NetLink | Self::NetLinkIn | Self::Dns
        )
    }

    /// Whether programs find the rules of this hook in the storage of their attachment, because they
    /// hang on the target's cgroup.
    #[must_use]
    pub const fn hangs_on_cgroup(self) -> bool {
        matches!(
            self,
            Self::NetConnect | Self::NetEgressSkb | Self::NetIngress
        )
    }
}

/// Bits of [`RuleConfig::flags`].
pub mod flags {
    /// Decide and count, but let the event pass.
    pub const SHADOW: u32 = 1;
    /// The rule has a [`crate::PathFilter`].
    pub const PATH: u32 = 1 << 1;
    /// What execve opens and reads counts as well.
    pub const INCLUDE_EXEC: u32 = 1 << 2;
    /// The rule has a [`crate::Narrowing`].
    pub const NARROW: u32 = 1 << 3;
    /// `when` counts the events of each thread for itself.
    pub const SCOPE_THREAD: u32 = 1 << 4;
    /// Neither `when` nor chance decides, but a list of ordinals ([`crate::ReplayKey`]).
    pub const REPLAY: u32 = 1 << 5;
    /// The effect is what a system call returns, and no errno.
    pub const RETURN: u32 = 1 << 6;
    /// The effect is how many microseconds a system call, or what is done to a file, waits before it is done.
    pub const DELAY: u32 = 1 << 7;
    /// The rule has a [`crate::CallFilter`].
    pub const CALL: u32 = 1 << 8;
    /// The rule is about what lies on file systems that somebody has mounted to keep files on, and
    /// about no devices and pipes.
    pub const DISK: u32 = 1 << 12;
    /// The rule has a [`crate::Room`], and lets pass what fits into it.
    pub const ROOM: u32 = 1 << 13;
    /// Its sampled events have the thread's stack. Tasks only.
    pub const STACK: u32 = 1 << 16;
    /// The rule is about one block device.
    pub const DEVICE: u32 = 1 << 17;
    /// The rule has a [`crate::PacketFilter`].
    pub const PACKET: u32 = 1 << 20;
    /// Whoever sends a packet that is lost is told so.
    pub const VISIBLE: u32 = 1 << 21;
    /// The rule has a [`crate::DnsFilter`].
    pub const DNS: u32 = 1 << 22;
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
    /// Nanoseconds that one injection takes out of the rate; 0 for no limit.
    pub rate_interval_ns: u64,
    /// By how much injections may run ahead of the rate: a burst of `n` is `n - 1` intervals.
    pub rate_tolerance_ns: u64,
    /// Depths in the cgroup tree at which excluded cgroups lie, one per byte; [`NO_DEPTH`] is none.
    pub exclude_depths: [u8; EXCLUDE_DEPTHS],
    /// Which fault of its experiment this is: with the seed it makes decisions by chance
    /// repeatable, whatever the rule's number on this node is.
    pub identity: u32,
    /// Index of the plan's word in the map of plans.
    pub plan: u32,
    /// [`flags`]
    pub flags: u32,
    /// What an injection does, by kind: an errno as a positive number, for example.
    pub effect: u32,
    /// Index into the per-CPU counters; [`NO_SLOT`] counts in [`RuleState::shared`].
    pub counters: u32,
    /// Index of the block that the ordinals of injections are recorded in, or [`NO_PLACE`].
    pub record: u16,
    /// Index of the set of system calls, of events of files, of classes of allocations, or of a disk's
    /// operations that it is about, or [`NO_PLACE`].
    pub calls: u16,
}

/// No place in a pool.
pub const NO_SLOT: u32 = u32::MAX;

/// No place in a pool of fewer places.
pub const NO_PLACE: u16 = u16::MAX;

/// A free byte of [`RuleConfig::exclude_depths`].
pub const NO_DEPTH: u8 = u8::MAX;

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
        rate_interval_ns: 0,
        rate_tolerance_ns: 0,
        exclude_depths: [NO_DEPTH; EXCLUDE_DEPTHS],
        identity: 0,
        plan: 0,
        flags: 0,
        effect: 0,
        counters: NO_SLOT,
        record: NO_PLACE,
        calls: NO_PLACE,
    };
}

/// What a program remembers of a rule, in one step each for all CPUs. Created with the rule, never rewritten by user space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleState {
    /// Events that passed the filters so far: the ordinal of the last one.
    pub ordinal: u64,
    /// Injections that were asked of the budget so far, granted or not.
    pub spent: u64,
    /// Boot time in nanoseconds at which the rate is used up no more (GCRA's theoretical arrival).
    pub rate_until_ns: u64,
    /// The same for sampled events.
    pub sample_until_ns: u64,
    /// Injections that were recorded, or would have been if the block had been longer.
    pub recorded: u64,
    /// What is counted of a rule without a place in the per-CPU counters.
    pub shared: Counters,
}

/// What a program counts for a rule: how often it decided what, one word for each [`Decision`]. So an event
/// is one addition, and whoever reads while it is counted sees all of it or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// In the order of [`Decision`].
    pub decided: [u64; Decision::COUNT],
}

impl Counters {
    /// How often that was decided.
    #[must_use]
    pub const fn of(&self, decision: Decision) -> u64 {
        self.decided[decision as usize]
    }

    /// Events of the rule's hook in its target, before the deadline.
    #[must_use]
    pub fn considered(&self) -> u64 {
        self.decided.iter().sum::<u64>() - self.of(Decision::Expired)
    }

    /// Of these, events that passed the filters while the rule was live.
    #[must_use]
    pub fn matched(&self) -> u64 {
        let matching = Decision::ALL.iter().filter(|decision| decision.matched());
        matching.map(|decision| self.of(*decision)).sum()
    }
}

/// What may still be written before a rule injects. Created with the rule, then written by programs
/// only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Room {
    /// How many bytes there are.
    pub bytes: u64,
    /// How many of them have been asked for: never less than before, so that what is full stays full.
    pub asked: u64,
}

/// Who is hit, on which hook: the key that leads to a [`RuleList`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TargetKey {
    /// A cgroup id, or what [`TargetKey::process`] makes of a process.
    pub id: u64,
    /// [`Hook`]
    pub hook: u32,
    /// [`TargetKey::CGROUP`], [`TargetKey::PROCESS`] or [`TargetKey::NETNS`]
    pub scope: u32,
}

impl TargetKey {
    /// `id` is a cgroup id.
    pub const CGROUP: u32 = 0;
    /// `id` is a process.
    pub const PROCESS: u32 = 1;
    /// `id` is a network namespace, by its inode: whatever leaves it and is no target's by its socket.
    pub const NETNS: u32 = 2;
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
    /// How many processes are targets; of packets, network namespaces.
    pub processes: u32,
    /// How many rules want the path.
    pub paths: u32,
    /// How many rules want to know who the task is.
    pub narrowings: u32,
    /// Another number whenever a rule has got or lost a place on the hook: what was remembered of
    /// cgroups ([`crate::remembered`]) is then worth nothing. At 0 nothing is remembered. Written
    /// after the targets and the rest of the gate.
    pub epoch: u32,
    /// How many rules want to know more of an event than which one it is: what a system call is about,
    /// or whether a file is on a disk.
    pub facts: u32,
}

const _: () = assert!(size_of::<RuleConfig>() == 128);
const _: () = assert!(size_of::<RuleState>() == 104);
const _: () = assert!(size_of::<Counters>() == 64);
const _: () = assert!(size_of::<Room>() == 16);
const _: () = assert!(size_of::<TargetKey>() == 16);
const _: () = assert!(size_of::<RuleList>() == 8 + 4 * RULES_PER_TARGET);
const _: () = assert!(size_of::<Gate>() == 4 * TARGET_LEVELS + 24);
