//! Every bound that a program or a map has, in one place.

/// Rules of one target on one hook; they are evaluated in the order of the list.
pub const RULES_PER_TARGET: usize = 8;

/// Rules that one event can meet, over all targets that it lies in.
pub const RULES_PER_EVENT: usize = 16;

/// Different depths in the cgroup tree at which the targets of one hook may lie. A program asks the
/// kernel for one ancestor per depth in use, so this bounds its work.
pub const TARGET_LEVELS: usize = 8;

/// Cgroups that are remembered of each hook: one in each place, and the places are given by the id's
/// last bits. A power of two.
pub const REMEMBERED: usize = 1024;

/// Rules on one node, unless its policy says otherwise.
pub const RULES: u32 = 10_000;

/// The highest limit that a policy may set.
pub const RULES_MAX: u32 = 100_000;

/// Bytes that the per-CPU counters may take over all CPUs. Rules that find no place in them share
/// one set of counters among the CPUs: 100,000 rules on 64 CPUs would take 358 MB otherwise.
pub const COUNTER_POOL_BYTES: u32 = 5 << 19;

/// Rules about allocations (`mem.*`) at a time: room for as many as there can be rules would be memory
/// for nothing.
pub const ALLOCATION_RULES: u32 = 4096;

/// Different depths at which the excluded cgroups of one rule may lie.
pub const EXCLUDE_DEPTHS: usize = 8;

/// Threads that rules with `scope=thread` can count for themselves.
pub const THREADS: u32 = 65_536;

/// Ordinals that all rules of a replay can list together.
pub const REPLAY_ORDINALS: u32 = 65_536;

/// Rules that can filter system calls by more than their number ([`crate::CallFilter`]).
pub const CALL_RULES: u32 = 4096;

/// Rules that can be about some packets only ([`crate::PacketFilter`]).
pub const PACKET_RULES: u32 = 4096;

/// Rules that can be about some answers of DNS servers only ([`crate::DnsFilter`]).
pub const DNS_RULES: u32 = 4096;

/// Names of all rules together ([`crate::NameKey`]).
pub const NAMES: u32 = 65_536;

/// Rules that can be links ([`crate::LinkConfig`]).
pub const LINK_RULES: u32 = 1024;

/// Networks of all rules together ([`crate::PeerKey`]).
pub const PEER_NETWORKS: u32 = 262_144;

/// Rules that can be about one block device.
pub const DEVICE_RULES: u32 = 1024;

/// Rules that can let something be written before they inject ([`crate::Room`]).
pub const ROOMS: u32 = 1024;

/// Rules whose injected ordinals can be recorded at a time.
pub const RECORDS: u32 = 64;

/// Injected ordinals that are recorded of one rule.
pub const RECORD_ORDINALS: u32 = 2048;

/// Bytes of the ring buffer of sampled events. A power of two, and of pages.
pub const EVENT_RING_BYTES: u32 = 256 * 1024;

/// Sampled events of one rule: so many at once, and then so many in a second.
pub const SAMPLES_PER_SECOND: u64 = 100;

/// Frames of a thread's stack that a sampled event has at most.
pub const STACK_FRAMES: usize = 32;

/// Bytes of a thread's name (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMM_BYTES: usize = 16;

/// Hooks, and one more than the highest number of a [`crate::Hook`].
pub const HOOKS: u32 = 28;

/// The longest that a program keeps a processor busy to make a system call wait, in nanoseconds:
/// all delays of one call together.
pub const BUSY_WAIT_NS: u64 = 5_000_000;

/// Threads that sleep at a time for longer than that.
pub const PAUSES: u32 = 4096;

/// Bytes of the ring buffer by which programs ask for it. A power of two, and of pages.
pub const PAUSE_RING_BYTES: u32 = 16 * 1024;

/// Numbers of system calls that a rule can name: more than x86-64 has. A multiple of 64.
pub const SYSCALLS: usize = 512;

/// Different sets of system calls that the rules of a node can be about.
pub const CALL_SETS: u32 = 1024;

/// Networks that the peer of a rule may lie in.
pub const PEERS: usize = 4;

/// Plans on one node. A power of two, because programs bound an index by masking.
pub const PLANS: u32 = 256;

/// Bytes that programs compare of a path between two looks at whether there is more.
pub const PATH_CHUNK_BYTES: usize = 64;

/// Bytes of a path filter. A multiple of [`PATH_CHUNK_BYTES`].
pub const PATH_FILTER_BYTES: usize = 512;

/// Longest path that a program resolves: the kernel's `PATH_MAX`. A power of two, because programs
/// bound their offsets by masking.
pub const PATH_BYTES: usize = 4096;

/// Components that a program walks up from a file before it gives up.
pub const PATH_COMPONENTS: usize = 96;
