//! What a person asks for: an experiment, its targets and its faults, as typed and validated values.
//!
//! The same values are written in two ways that are held equal: a `FaultExperiment` file
//! ([`yaml`]) and a fault in one shell word ([`word`]). Neither touches the machine.

use std::{borrow::Cow, fmt, time::Duration};

mod call_filter;
mod check;
pub(crate) mod clock;
mod disk;
pub(crate) mod disk_error;
mod dns;
mod errno;
mod file_op;
mod keys;
pub(crate) mod memory;
mod names;
mod net_connect;
mod net_link;
mod net_reset;
mod ordinals;
mod paths;
mod quantity;
mod rate;
#[cfg(test)]
mod round_trip_tests;
mod schedule;
mod set;
mod socket_filter;
pub mod strace;
#[cfg(test)]
pub(crate) mod strategies;
mod syscall;
mod syscall_class;
mod task;
mod traffic;
mod validate;
mod violation;
pub mod word;
mod wording;
pub mod yaml;

pub use call_filter::{CallFilter, FdKind, Network, OpenFlag};
pub use check::{Bound, Check, Comparison, Counter, Moment};
pub use clock::{Clock, ClockRate, TimeOffset};
pub use disk_error::DiskOp;
pub use dns::{DnsAddresses, DnsFailure, DnsFilter, DnsName, DnsType, MAX_NAMES};
pub use errno::Errno;
pub use file_op::FileOp;
pub use memory::{Gfp, MapOp};
pub use net_connect::ConnectOp;
pub use net_link::{Bursts, Corruption, Distribution, LossModel, NetLink};
pub use ordinals::Ordinals;
pub use quantity::{
    BitRate, ByteRate, ByteSize, CpuQuota, MAX_DURATION, Share, format_duration, parse_duration,
};
pub use rate::Rate;
pub use socket_filter::{Protocol, SocketFilter};
pub use syscall::Syscall;
pub use syscall_class::{SyscallClass, SyscallOp};
pub use task::{Comm, Exclude, Scope};
pub use traffic::{MAX_PEERS, Proto, Traffic};
pub use validate::{Complete, append_words, number_default_ids};
pub use violation::{BadValue, Violation, Violations};

/// Faults, targets, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiment {
    /// `metadata.name`: a DNS label, unique among the live experiments of a scheduler.
    pub name: String,
    /// Hit by each fault that names no target of its own.
    pub target: Option<Target>,
    /// How long each fault lives that has no duration of its own.
    pub duration: Option<Duration>,
    /// Seed of every fault that has none of its own; drawn when the experiment is accepted.
    pub seed: Option<u64>,
    /// At least one; identities are unique.
    pub faults: Vec<Fault>,
    /// What has to be true for it to have passed, beyond that each fault hit something.
    pub checks: Vec<Check>,
}

/// Cgroups that one target can be made of.
pub const MAX_CGROUPS: usize = 64;

/// What is hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A cgroup v2 by its path below the mount, such as `/system.slice/nginx.service`, with its whole subtree.
    Cgroup(String),
    /// Several cgroups as one, 2 to [`MAX_CGROUPS`] and none in another: a fault counts and draws over
    /// all of them together.
    Cgroups(Vec<String>),
    /// A systemd unit by its full name.
    Unit(String),
    /// One process with all its threads, without its children.
    Pid(u32),
    /// A command that `kchaos run` starts; refused everywhere else.
    Command(Vec<String>),
}

/// One kind of damage with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Unique inside its experiment; by default the kind's name, with a number from the second on.
    pub id: String,
    /// Instead of the experiment's target.
    pub target: Option<Target>,
    /// What happens.
    pub kind: FaultKind,
    /// When, how often and by which mechanism.
    pub common: Common,
}

/// The kinds of fault. The variant's stem is the same in every layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `file.error`: file operations fail with an errno.
    FileError(FileError),
    /// `net.loss`: packets are lost.
    NetLoss(NetLoss),
    /// `net.partition`: the target is cut off from peers.
    NetPartition(NetPartition),
    /// `net.down`: the target has no network.
    NetDown(NetDown),
    /// `pressure.cpu`: the target gets less time on the processors.
    PressureCpu(PressureCpu),
    /// `syscall.delay`: system calls take longer.
    SyscallDelay(SyscallDelay),
    /// `syscall.error`: system calls fail with an errno.
    SyscallError(SyscallError),
    /// `syscall.return`: system calls are not done, and return a value of one's choice.
    SyscallReturn(SyscallReturn),
    /// `disk.limit`: the target reads and writes a disk slower.
    DiskLimit(DiskLimit),
    /// `mem.slab`: the kernel's slab caches have nothing to give.
    MemSlab(MemSlab),
    /// `mem.page`: the kernel's page allocator has nothing to give.
    MemPage(MemPage),
    /// `mem.mmap`: the target gets no more memory from mmap, brk and mremap.
    MemMmap(MemMmap),
    /// `disk.full`: there is no room left on a disk.
    DiskFull(DiskFull),
    /// `disk.readonly`: nothing on a disk can be changed.
    DiskReadonly(DiskReadonly),
    /// `disk.quota`: the target's share of a disk is used up.
    DiskQuota(DiskQuota),
    /// `file.delay`: file operations take longer.
    FileDelay(FileDelay),
    /// `disk.error`: what a disk is asked for on the target's account fails.
    DiskError(DiskError),
    /// `net.connect`: sockets cannot be connected, sent from or bound.
    NetConnect(NetConnect),
    /// `net.reset`: connections are ended.
    NetReset(NetReset),
    /// `clock.offset`: clocks are ahead, or behind.
    ClockOffset(ClockOffset),
    /// `clock.speed`: clocks run faster, or slower.
    ClockSpeed(ClockSpeed),
    /// `clock.freeze`: clocks stand still.
    ClockFreeze(ClockFreeze),
    /// `clock.step`: clocks jump again and again.
    ClockStep(ClockStep),
    /// `net.link`: packets take time, get lost, doubled and damaged on their way.
    NetLink(NetLink),
    /// `dns.error`: questions to DNS servers fail.
    DnsError(DnsError),
    /// `dns.answer`: questions to DNS servers get another answer.
    DnsAnswer(DnsAnswer),
    /// `dns.delay`: answers of DNS servers take time.
    DnsDelay(DnsDelay),
}

/// `file.error`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// Which operations; at least one, no duplicates.
    pub ops: Vec<FileOp>,
    /// The error that the caller sees.
    pub errno: Errno,
    /// Only files at this path, as the target sees it; of two names one is enough. Refused beside
    /// operations whose mount the kernel does not say.
    pub path: Option<PathFilter>,
    /// Also what an execve opens and reads: the program, its interpreter, its script. Refused without
    /// opens and reads.
    pub include_exec: bool,
}

/// Paths as the target sees them: absolute, no `.` or `..` component, no doubled slash, at most 511 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathFilter {
    /// `path=/d/f`: this file.
    File(String),
    /// `path=/d/`: this directory and everything below it; kept with its slash at the end.
    Subtree(String),
}

/// `net.loss`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetLoss {
    /// Share of the packets that is lost.
    pub share: Share,
    /// Of which packets.
    pub traffic: Traffic,
}

/// `net.partition`: nothing comes through to or from peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetPartition {
    /// Whom the target is cut off from: narrower than everything.
    pub traffic: Traffic,
}

/// `net.down`: nothing comes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetDown {
    /// Seen from the target.
    pub direction: Direction,
    /// As of [`Traffic`].
    pub visible: bool,
}

/// `pressure.cpu`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PressureCpu {
    /// What the target keeps, all its processes together.
    pub quota: CpuQuota,
}

/// `syscall.delay`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallDelay {
    /// Which system calls; at least one, no duplicates.
    pub ops: Vec<SyscallOp>,
    /// How long each waits before it is done: whole microseconds, from [`SyscallDelay::MIN`] to
    /// [`SyscallDelay::MAX`].
    pub delay: Duration,
    /// What else they have to be.
    pub filter: CallFilter,
}

impl SyscallDelay {
    /// The shortest delay, and what every delay is a multiple of.
    pub const MIN: Duration = Duration::from_micros(1);
    /// The longest.
    pub const MAX: Duration = Duration::from_hours(1);
}

/// `syscall.error`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallError {
    /// Which system calls; at least one, no duplicates.
    pub ops: Vec<SyscallOp>,
    /// The error that the caller sees.
    pub errno: Errno,
    /// What else they have to be.
    pub filter: CallFilter,
}

/// `syscall.return`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallReturn {
    /// Which system calls; at least one, no duplicates.
    pub ops: Vec<SyscallOp>,
    /// What the caller gets, at most [`SyscallReturn::MAX`].
    pub value: u32,
    /// What else they have to be.
    pub filter: CallFilter,
}

impl SyscallReturn {
    /// Most that an `int` holds, which is what most calls return.
    pub const MAX: u32 = i32::MAX.unsigned_abs();
}

/// `disk.limit`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskLimit {
    /// A block device, or anything on one, by its absolute path as this machine sees it.
    pub device: String,
    /// Bytes that the target reads each second at most, all its processes together.
    pub read_bps: Option<ByteRate>,
    /// Bytes that it writes.
    pub write_bps: Option<ByteRate>,
    /// Operations that it reads with, each second, 1 to [`DiskLimit::MAX_IOPS`].
    pub read_iops: Option<u32>,
    /// Operations that it writes with.
    pub write_iops: Option<u32>,
}

impl DiskLimit {
    /// The kernel takes the next number for no limit.
    pub const MAX_IOPS: u32 = u32::MAX - 1;
}

/// `mem.slab`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemSlab {
    /// Only objects of this cache, by its name in /proc/slabinfo: at most 63 printable bytes.
    pub cache: Option<String>,
    /// Only objects of so many bytes at least.
    pub min_size: Option<ByteSize>,
    /// Only allocations of these classes, no duplicates, and never [`Gfp::User`]; none is
    /// [`Gfp::Kernel`].
    pub gfp: Vec<Gfp>,
}

/// `mem.page`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemPage {
    /// Only of 2 to the power of so many pages at least, at most [`MemPage::MAX_ORDER`].
    pub min_order: Option<u32>,
    /// Only allocations of these classes, no duplicates; none is [`Gfp::Kernel`].
    pub gfp: Vec<Gfp>,
}

/// `mem.mmap`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemMmap {
    /// Which calls, no duplicates; none is all of them.
    pub ops: Vec<MapOp>,
    /// Only where so many bytes at least are asked for.
    pub min_size: Option<ByteSize>,
}

/// `disk.full`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFull {
    /// What the disk is, as the target sees it; `/` is everything.
    pub path: PathFilter,
    /// What the target can still write; `None` is nothing.
    pub bytes: Option<ByteSize>,
}

/// `disk.readonly`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskReadonly {
    /// What the disk is, as the target sees it; `/` is everything.
    pub path: PathFilter,
}

/// `disk.quota`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskQuota {
    /// What the disk is, as the target sees it; `/` is everything.
    pub path: PathFilter,
    /// What the target can still write; `None` is nothing.
    pub bytes: Option<ByteSize>,
}

/// `file.delay`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDelay {
    /// As of [`FileError`].
    pub ops: Vec<FileOp>,
    /// How long each waits before it is done, as of [`SyscallDelay`].
    pub delay: Duration,
    /// As of [`FileError`].
    pub path: Option<PathFilter>,
    /// As of [`FileError`].
    pub include_exec: bool,
}

/// `disk.error`: the errno is EIO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// Which operations, no duplicates; none is all of them.
    pub ops: Vec<DiskOp>,
    /// Only on this one: a block device, or anything on one, by its absolute path as this machine sees
    /// it, or its numbers as in `8:16`. A disk stands for its partitions as well.
    pub device: Option<String>,
}

/// `net.connect`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConnect {
    /// Which operations, no duplicates; none is [`ConnectOp::Connect`].
    pub ops: Vec<ConnectOp>,
    /// The error that the caller sees.
    pub errno: Errno,
    /// What else they have to be about.
    pub filter: SocketFilter,
}

/// `net.reset`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetReset {
    /// Share of the connections that is ended.
    pub share: Share,
    /// Which of them. The protocol is always TCP, and not said.
    pub filter: SocketFilter,
}

/// `clock.offset`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// Which clocks; at least one, no duplicates.
    pub clocks: Vec<Clock>,
    /// How far they are moved.
    pub offset: TimeOffset,
    /// Also where a clock that never does so runs backwards.
    pub allow_backwards: bool,
}

/// `clock.speed`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockSpeed {
    /// Which clocks; at least one, no duplicates.
    pub clocks: Vec<Clock>,
    /// How many times as fast they run.
    pub speed: ClockRate,
    /// Also where a clock that never does so runs backwards.
    pub allow_backwards: bool,
}

/// `clock.freeze`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockFreeze {
    /// Which clocks; at least one, no duplicates.
    pub clocks: Vec<Clock>,
}

/// `clock.step`: `times` says how many steps at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// Which clocks; at least one, no duplicates.
    pub clocks: Vec<Clock>,
    /// How far each step moves them.
    pub offset: TimeOffset,
    /// From one step to the next, at least a millisecond. The first comes at once.
    pub every: Duration,
    /// Also where a clock that never does so runs backwards.
    pub allow_backwards: bool,
}

/// `dns.error`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsError {
    /// How.
    pub error: DnsFailure,
    /// Which questions.
    pub filter: DnsFilter,
}

/// `dns.answer`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// The addresses that it has. To a question about the other family the answer is that there is none.
    pub answer: DnsAddresses,
    /// For how many seconds it may be remembered, up to [`Self::MAX_TTL`].
    pub ttl: u32,
    /// Which questions, of those about addresses.
    pub filter: DnsFilter,
}

/// `dns.delay`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsDelay {
    /// By how much they are late, up to [`NetLink::MAX_DELAY`].
    pub delay: Duration,
    /// By how much that changes from answer to answer: half the width of a uniform distribution.
    pub jitter: Option<Duration>,
    /// To which questions.
    pub filter: DnsFilter,
}

/// Direction of packets, seen from the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Sent by the target.
    Egress,
    /// Received by the target.
    Ingress,
    /// Both.
    Both,
}

/// What every kind has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// Share of the matching events that is hit; `None` is all of them. Refused for `net.loss`, whose effect is the share.
    pub probability: Option<Share>,
    /// Which of the matching events are hit, in strace's grammar.
    pub when: Option<When>,
    /// What `when` counts over. Refused for packets, which have no thread.
    pub scope: Scope,
    /// At most so many injections.
    pub times: Option<u64>,
    /// At most so many injections in a while.
    pub max_rate: Option<Rate>,
    /// Exactly these of the matching events, instead of `when`, chance, rate and budget.
    pub replay: Option<Ordinals>,
    /// Only processes of this name. Refused for packets, like the next two.
    pub comm: Option<Comm>,
    /// Only this real user, by its id in the first user namespace.
    pub uid: Option<u32>,
    /// Only threads whose name begins like this.
    pub thread: Option<Comm>,
    /// Parts of the target that are left out; no duplicates.
    pub exclude: Vec<Exclude>,
    /// Instead of the experiment's seed.
    pub seed: Option<u64>,
    /// Instead of the experiment's duration.
    pub duration: Option<Duration>,
    /// Starts so long after the experiment was armed.
    pub after: Option<Duration>,
    /// On and off in turn.
    pub pulse: Option<Pulse>,
    /// Decide and count, but let everything pass.
    pub shadow: bool,
    /// Sampled injections say where the thread was in user space. Refused for packets, which have no
    /// thread.
    pub stack: bool,
    /// This mechanism or none, instead of the first of the ladder.
    pub mechanism: Option<Mechanism>,
}

/// strace's `when=`: `3`, `3+`, `3..9`, `3+2`, `3..9+2`, counted from 1 over the matching events of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// First ordinal that is hit, from 1.
    pub first: u64,
    /// Last ordinal that may be hit; `None` for no end. `3` is `first == last == 3`.
    pub last: Option<u64>,
    /// Every so many from `first` on, from 1.
    pub step: u64,
}

/// `pulse=2s/10s`: the first 2 s of every 10 s, from the fault's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// On for so long; longer than zero.
    pub active: Duration,
    /// Of every so long; longer than `active`.
    pub every: Duration,
}

/// A way of doing a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    /// A BPF LSM program.
    Lsm,
    /// A `fmod_ret` program on a `security_*` function.
    FmodRet,
    /// A `cgroup_skb` program on the target's cgroup.
    CgroupSkb,
    /// A control file of the target's cgroup, such as `cpu.max`.
    CgroupKnob,
    /// A program on the network devices of the target's namespace, by a tcx link.
    Tcx,
    /// A `fmod_ret` program on the system call itself.
    FmodRetSyscall,
    /// A kprobe on the system call, which returns in its place.
    KprobeOverride,
    /// A seccomp filter whose notifications are answered from user space.
    SeccompNotify,
    /// `cgroup_sock_addr` programs on the target's cgroup.
    CgroupSockAddr,
    /// The kernel's own end of a connection, by `sock_diag`.
    SockDestroy,
    /// A stub in each process, behind the functions of its vDSO.
    Vdso,
    /// Packets are picked on clsact and delayed on a device of our own.
    Ifb,
}

impl Mechanism {
    /// Every mechanism, in no order of rank.
    pub const ALL: [Self; 12] = [
        Self::Lsm,
        Self::FmodRet,
        Self::CgroupSkb,
        Self::CgroupKnob,
        Self::Tcx,
        Self::FmodRetSyscall,
        Self::KprobeOverride,
        Self::SeccompNotify,
        Self::CgroupSockAddr,
        Self::SockDestroy,
        Self::Vdso,
        Self::Ifb,
    ];

    /// The word for it in files, fault words and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::FmodRet => "fmod-ret",
            Self::CgroupSkb => "cgroup-skb",
            Self::CgroupKnob => "cgroup-knob",
            Self::Tcx => "tcx",
            Self::FmodRetSyscall => "fmod-ret-syscall",
            Self::KprobeOverride => "kprobe-override",
            Self::SeccompNotify => "seccomp-notify",
            Self::CgroupSockAddr => "cgroup-sock-addr",
            Self::SockDestroy => "sock-destroy",
            Self::Vdso => "vdso",
            Self::Ifb => "ifb",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FaultKind {
    /// What a fault about system calls is about.
    pub(crate) fn of_calls(&self) -> Option<(&[SyscallOp], &CallFilter)> {
        match self {
            Self::SyscallDelay(kind) => Some((&kind.ops, &kind.filter)),
            Self::SyscallError(kind) => Some((&kind.ops, &kind.filter)),
            Self::SyscallReturn(kind) => Some((&kind.ops, &kind.filter)),
            _ => None,
        }
    }

    /// Which packets a fault about packets is about.
    pub(crate) fn traffic(&self) -> Option<Cow<'_, Traffic>> {
        match self {
            Self::NetLoss(kind) => Some(Cow::Borrowed(&kind.traffic)),
            Self::NetPartition(kind) => Some(Cow::Borrowed(&kind.traffic)),
            Self::NetLink(kind) => Some(Cow::Borrowed(&kind.traffic)),
            Self::NetDown(kind) => Some(Cow::Owned(Traffic {
                direction: kind.direction,
                visible: kind.visible,
                ..Traffic::default()
            })),
            _ => None,
        }
    }

    /// The kind's name in a fault word, such as `file.error`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::FileError(_) => "file.error",
            Self::NetLoss(_) => "net.loss",
            Self::NetPartition(_) => "net.partition",
            Self::NetDown(_) => "net.down",
            Self::PressureCpu(_) => "pressure.cpu",
            Self::SyscallDelay(_) => "syscall.delay",
            Self::SyscallError(_) => "syscall.error",
            Self::SyscallReturn(_) => "syscall.return",
            Self::DiskLimit(_) => "disk.limit",
            Self::MemSlab(_) => "mem.slab",
            Self::MemPage(_) => "mem.page",
            Self::MemMmap(_) => "mem.mmap",
            Self::DiskFull(_) => "disk.full",
            Self::DiskReadonly(_) => "disk.readonly",
            Self::DiskQuota(_) => "disk.quota",
            Self::FileDelay(_) => "file.delay",
            Self::DiskError(_) => "disk.error",
            Self::NetConnect(_) => "net.connect",
            Self::NetReset(_) => "net.reset",
            Self::ClockOffset(_) => "clock.offset",
            Self::ClockSpeed(_) => "clock.speed",
            Self::ClockFreeze(_) => "clock.freeze",
            Self::ClockStep(_) => "clock.step",
            Self::NetLink(_) => "net.link",
            Self::DnsError(_) => "dns.error",
            Self::DnsAnswer(_) => "dns.answer",
            Self::DnsDelay(_) => "dns.delay",
        }
    }
}
