//! The keys of a fault: which kind has which, and where each stands in a file.

use std::time::Duration;

use super::{
    CallFilter, ClockFreeze, ClockOffset, ClockRate, ClockSpeed, ClockStep, Common, CpuQuota,
    Direction, DiskError, DiskFull, DiskLimit, DiskQuota, DiskReadonly, DnsAddresses, DnsAnswer,
    DnsDelay, DnsError, DnsFailure, DnsFilter, Errno, Fault, FaultKind, FileDelay, FileError,
    Mechanism, MemMmap, MemPage, MemSlab, NetConnect, NetDown, NetLink, NetLoss, NetPartition,
    NetReset, PathFilter, PressureCpu, Share, SocketFilter, SyscallDelay, SyscallError,
    SyscallReturn, TimeOffset, Traffic,
    dns::{OF_DNS, OF_DNS_ANSWER, OF_DNS_DELAY},
    net_link::OF_LINK,
    traffic::OF_TRAFFIC,
    violation::BadValue,
    wording::{all_of, nearest, quoted},
};

/// How a value is written in YAML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    /// A whole number, unquoted.
    Count,
    /// A whole number or a text, such as `when`.
    CountOrText,
    Flag,
    List,
}

/// A key of a fault.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) ty: Type,
    /// A value for remedies.
    pub(super) example: &'static str,
}

pub(super) const fn key(name: &'static str, ty: Type, example: &'static str) -> Key {
    Key { name, ty, example }
}

/// Keys that stand beside the kind's block in a file.
pub(super) const ON_FAULT: [Key; 3] = [
    key("after", Type::Text, "10s"),
    key("duration", Type::Text, "30s"),
    key("pulse", Type::Text, "2s/10s"),
];

/// Keys that every kind has in its block.
pub(super) const IN_BLOCK: [Key; 14] = [
    key("probability", Type::Text, "5%"),
    key("when", Type::CountOrText, "3+"),
    key("scope", Type::Text, "thread"),
    key("times", Type::Count, "10"),
    key("maxRate", Type::Text, "10/s"),
    key("replay", Type::CountOrText, "2+5..9"),
    key("comm", Type::Text, "nginx"),
    key("uid", Type::Count, "33"),
    key("thread", Type::Text, "worker-"),
    key("exclude", Type::List, "[/web/sidecar]"),
    key("seed", Type::Count, "42"),
    key("shadow", Type::Flag, "true"),
    key("stack", Type::Flag, "true"),
    key("mechanism", Type::Text, "lsm"),
];

/// Keys that every kind about system calls has in its block.
const OF_CALLS: &[Key] = &[
    key("fd", Type::List, "[regular]"),
    key("path", Type::Text, "/var/lib/data/"),
    key("peer", Type::List, "[10.0.0.0/8]"),
    key("peerPort", Type::Count, "5432"),
    key("flags", Type::List, "[O_WRONLY]"),
    key("minSize", Type::CountOrText, "4096"),
];

/// Keys of the design that no kind has yet.
pub(super) const PLANNED_KEYS: [&str; 1] = ["glob"];

/// What both forms have to know of a kind.
#[derive(Debug)]
pub(super) struct Kind {
    /// In a fault word.
    pub(super) name: &'static str,
    /// The key of its block in a file.
    pub(super) block: &'static str,
    /// The field that stands before `=` in a word, after `:`; it may be left out where it is not
    /// required.
    pub(super) what: Option<&'static str>,
    /// The field that stands after `=` in a word, if there is one.
    pub(super) effect: Option<&'static str>,
    /// The other fields of its own.
    pub(super) own: &'static [Key],
    /// `what` and `effect`, as keys of the block.
    pub(super) required: &'static [Key],
    /// A whole word.
    pub(super) example: &'static str,
    /// The ways of doing it, the best first.
    pub(super) mechanisms: &'static [Mechanism],
    /// A valid fault of this kind, to be filled in.
    pub(super) blank: fn() -> FaultKind,
}

pub(super) static KINDS: [Kind; 27] = [
    Kind {
        name: "clock.freeze",
        block: "clockFreeze",
        what: Some("clocks"),
        effect: None,
        own: &[],
        required: &[key("clocks", Type::List, "[realtime]")],
        example: "clock.freeze:realtime",
        mechanisms: &[Mechanism::Vdso],
        blank: || FaultKind::ClockFreeze(ClockFreeze { clocks: Vec::new() }),
    },
    Kind {
        name: "clock.offset",
        block: "clockOffset",
        what: Some("clocks"),
        effect: Some("offset"),
        own: &[key("allowBackwards", Type::Flag, "true")],
        required: &[
            key("clocks", Type::List, "[realtime]"),
            key("offset", Type::Text, "-600s"),
        ],
        example: "clock.offset:realtime=+1h",
        mechanisms: &[Mechanism::Vdso],
        blank: || {
            FaultKind::ClockOffset(ClockOffset {
                clocks: Vec::new(),
                offset: TimeOffset::HOUR,
                allow_backwards: false,
            })
        },
    },
    Kind {
        name: "clock.speed",
        block: "clockSpeed",
        what: Some("clocks"),
        effect: Some("speed"),
        own: &[key("allowBackwards", Type::Flag, "true")],
        required: &[
            key("clocks", Type::List, "[realtime]"),
            key("speed", Type::Text, "2"),
        ],
        example: "clock.speed:monotonic+boottime=0.5",
        mechanisms: &[Mechanism::Vdso],
        blank: || {
            FaultKind::ClockSpeed(ClockSpeed {
                clocks: Vec::new(),
                speed: ClockRate::HALF,
                allow_backwards: false,
            })
        },
    },
    Kind {
        name: "clock.step",
        block: "clockStep",
        what: Some("clocks"),
        effect: Some("offset"),
        own: &[
            key("every", Type::Text, "10s"),
            key("allowBackwards", Type::Flag, "true"),
        ],
        required: &[
            key("clocks", Type::List, "[realtime]"),
            key("offset", Type::Text, "-10s"),
        ],
        example: "clock.step:realtime=+10s,every=1m",
        mechanisms: &[Mechanism::Vdso],
        blank: || {
            FaultKind::ClockStep(ClockStep {
                clocks: Vec::new(),
                offset: TimeOffset::HOUR,
                every: ClockStep::EVERY,
                allow_backwards: false,
            })
        },
    },
    Kind {
        name: "disk.error",
        block: "diskError",
        what: Some("ops"),
        effect: Some("errno"),
        own: &[
            key("ops", Type::List, "[write]"),
            key("device", Type::Text, "/dev/sdb"),
        ],
        required: &[key("errno", Type::Text, "EIO")],
        example: "disk.error:write=EIO",
        mechanisms: &[Mechanism::FmodRet, Mechanism::KprobeOverride],
        blank: || {
            FaultKind::DiskError(DiskError {
                ops: Vec::new(),
                device: None,
            })
        },
    },
    Kind {
        name: "disk.full",
        block: "diskFull",
        what: None,
        effect: Some("path"),
        own: &[key("bytes", Type::Text, "10MiB")],
        required: &[key("path", Type::Text, "/var/lib/data/")],
        example: "disk.full=/var/lib/data/",
        mechanisms: &[Mechanism::Lsm, Mechanism::FmodRet],
        blank: || {
            FaultKind::DiskFull(DiskFull {
                path: PathFilter::everything(),
                bytes: None,
            })
        },
    },
    Kind {
        name: "disk.limit",
        block: "diskLimit",
        what: None,
        effect: Some("device"),
        own: &[
            key("readBps", Type::Text, "10MiB"),
            key("writeBps", Type::Text, "1MiB"),
            key("readIops", Type::Count, "100"),
            key("writeIops", Type::Count, "20"),
        ],
        required: &[key("device", Type::Text, "/var/lib")],
        example: "disk.limit=/var/lib,writeBps=1MiB",
        mechanisms: &[Mechanism::CgroupKnob],
        blank: || {
            FaultKind::DiskLimit(DiskLimit {
                device: "/".to_owned(),
                read_bps: None,
                write_bps: None,
                read_iops: None,
                write_iops: None,
            })
        },
    },
    Kind {
        name: "disk.quota",
        block: "diskQuota",
        what: None,
        effect: Some("path"),
        own: &[key("bytes", Type::Text, "10MiB")],
        required: &[key("path", Type::Text, "/var/lib/data/")],
        example: "disk.quota=/var/lib/data/,bytes=10MiB",
        mechanisms: &[Mechanism::Lsm, Mechanism::FmodRet],
        blank: || {
            FaultKind::DiskQuota(DiskQuota {
                path: PathFilter::everything(),
                bytes: None,
            })
        },
    },
    Kind {
        name: "disk.readonly",
        block: "diskReadonly",
        what: None,
        effect: Some("path"),
        own: &[],
        required: &[key("path", Type::Text, "/var/lib/data/")],
        example: "disk.readonly=/var/lib/data/",
        mechanisms: &[Mechanism::Lsm, Mechanism::FmodRet],
        blank: || {
            FaultKind::DiskReadonly(DiskReadonly {
                path: PathFilter::everything(),
            })
        },
    },
    Kind {
        name: "dns.answer",
        block: "dnsAnswer",
        what: Some("names"),
        effect: Some("answer"),
        own: OF_DNS_ANSWER,
        required: &[key("answer", Type::Text, "10.0.0.7")],
        example: "dns.answer:db.example.com=10.0.0.7",
        mechanisms: &[Mechanism::Tcx],
        blank: || {
            FaultKind::DnsAnswer(DnsAnswer {
                answer: DnsAddresses::BLANK,
                ttl: 0,
                filter: DnsFilter::default(),
            })
        },
    },
    Kind {
        name: "dns.delay",
        block: "dnsDelay",
        what: Some("names"),
        effect: Some("delay"),
        own: OF_DNS_DELAY,
        required: &[key("delay", Type::Text, "200ms")],
        example: "dns.delay:*.example.com=200ms",
        mechanisms: &[Mechanism::Ifb],
        blank: || {
            FaultKind::DnsDelay(DnsDelay {
                delay: Duration::from_millis(1),
                jitter: None,
                filter: DnsFilter::default(),
            })
        },
    },
    Kind {
        name: "dns.error",
        block: "dnsError",
        what: Some("names"),
        effect: Some("error"),
        own: OF_DNS,
        required: &[key("error", Type::Text, "nxdomain")],
        example: "dns.error:*.example.com=nxdomain",
        mechanisms: &[Mechanism::Tcx],
        blank: || {
            FaultKind::DnsError(DnsError {
                error: DnsFailure::Servfail,
                filter: DnsFilter::default(),
            })
        },
    },
    Kind {
        name: "file.delay",
        block: "fileDelay",
        what: Some("ops"),
        effect: Some("delay"),
        own: &[
            key("path", Type::Text, "/var/lib/data/"),
            key("includeExec", Type::Flag, "true"),
        ],
        required: &[
            key("ops", Type::List, "[read]"),
            key("delay", Type::Text, "2ms"),
        ],
        example: "file.delay:read=2ms",
        mechanisms: &[Mechanism::Lsm, Mechanism::FmodRet],
        blank: || {
            FaultKind::FileDelay(FileDelay {
                ops: Vec::new(),
                delay: SyscallDelay::MIN,
                path: None,
                include_exec: false,
            })
        },
    },
    Kind {
        name: "file.error",
        block: "fileError",
        what: Some("ops"),
        effect: Some("errno"),
        own: &[
            key("path", Type::Text, "/var/lib/data/"),
            key("includeExec", Type::Flag, "true"),
        ],
        required: &[
            key("ops", Type::List, "[open]"),
            key("errno", Type::Text, "EIO"),
        ],
        example: "file.error:open=EIO",
        mechanisms: &[Mechanism::Lsm, Mechanism::FmodRet],
        blank: || {
            FaultKind::FileError(FileError {
                ops: Vec::new(),
                errno: Errno::EIO,
                path: None,
                include_exec: false,
            })
        },
    },
    Kind {
        name: "mem.mmap",
        block: "memMmap",
        what: Some("ops"),
        effect: Some("errno"),
        own: &[
            key("ops", Type::List, "[mmap]"),
            key("minSize", Type::Text, "1MiB"),
        ],
        required: &[key("errno", Type::Text, "ENOMEM")],
        example: "mem.mmap:mmap=ENOMEM",
        mechanisms: &[Mechanism::FmodRet],
        blank: || {
            FaultKind::MemMmap(MemMmap {
                ops: Vec::new(),
                min_size: None,
            })
        },
    },
    Kind {
        name: "mem.page",
        block: "memPage",
        what: None,
        effect: Some("errno"),
        own: &[
            key("minOrder", Type::Count, "2"),
            key("gfp", Type::List, "[kernel]"),
        ],
        required: &[key("errno", Type::Text, "ENOMEM")],
        example: "mem.page=ENOMEM,minOrder=2",
        mechanisms: &[Mechanism::FmodRet, Mechanism::KprobeOverride],
        blank: || {
            FaultKind::MemPage(MemPage {
                min_order: None,
                gfp: Vec::new(),
            })
        },
    },
    Kind {
        name: "mem.slab",
        block: "memSlab",
        what: None,
        effect: Some("errno"),
        own: &[
            key("cache", Type::Text, "filp"),
            key("minSize", Type::Text, "64B"),
            key("gfp", Type::List, "[kernel]"),
        ],
        required: &[key("errno", Type::Text, "ENOMEM")],
        example: "mem.slab=ENOMEM,cache=filp",
        mechanisms: &[Mechanism::FmodRet, Mechanism::KprobeOverride],
        blank: || {
            FaultKind::MemSlab(MemSlab {
                cache: None,
                min_size: None,
                gfp: Vec::new(),
            })
        },
    },
    Kind {
        name: "net.connect",
        block: "netConnect",
        what: Some("ops"),
        effect: Some("errno"),
        own: &[
            key("ops", Type::List, "[bind]"),
            key("peer", Type::List, "[10.0.0.0/8]"),
            key("peerPort", Type::Count, "5432"),
            key("localPort", Type::Count, "8080"),
            key("proto", Type::Text, "tcp"),
        ],
        required: &[key("errno", Type::Text, "ETIMEDOUT")],
        example: "net.connect:connect=ETIMEDOUT",
        mechanisms: &[Mechanism::CgroupSockAddr],
        blank: || {
            FaultKind::NetConnect(NetConnect {
                ops: Vec::new(),
                errno: Errno::ETIMEDOUT,
                filter: SocketFilter::default(),
            })
        },
    },
    Kind {
        name: "net.down",
        block: "netDown",
        what: None,
        effect: None,
        own: &[
            key("direction", Type::Text, "egress"),
            key("visible", Type::Flag, "true"),
        ],
        required: &[],
        example: "net.down",
        mechanisms: &[Mechanism::Tcx, Mechanism::CgroupSkb],
        blank: || {
            FaultKind::NetDown(NetDown {
                direction: Direction::Both,
                visible: false,
            })
        },
    },
    Kind {
        name: "net.link",
        block: "netLink",
        what: None,
        effect: None,
        own: OF_LINK,
        required: &[],
        example: "net.link,delay=100ms,jitter=10ms,loss=1%",
        mechanisms: &[Mechanism::Ifb],
        blank: NetLink::blank_kind,
    },
    Kind {
        name: "net.loss",
        block: "netLoss",
        what: None,
        effect: Some("share"),
        own: OF_TRAFFIC,
        required: &[key("share", Type::Text, "10%")],
        example: "net.loss=10%",
        mechanisms: &[Mechanism::Tcx, Mechanism::CgroupSkb],
        blank: || {
            FaultKind::NetLoss(NetLoss {
                share: Share::ALL,
                traffic: Traffic::default(),
            })
        },
    },
    Kind {
        name: "net.partition",
        block: "netPartition",
        what: None,
        effect: None,
        own: OF_TRAFFIC,
        required: &[],
        example: "net.partition,peer=10.0.0.7",
        mechanisms: &[Mechanism::Tcx, Mechanism::CgroupSkb],
        blank: || {
            FaultKind::NetPartition(NetPartition {
                traffic: Traffic::default(),
            })
        },
    },
    Kind {
        name: "net.reset",
        block: "netReset",
        what: None,
        effect: Some("share"),
        own: &[
            key("peer", Type::List, "[10.0.0.0/8]"),
            key("peerPort", Type::Count, "5432"),
            key("localPort", Type::Count, "80"),
        ],
        required: &[key("share", Type::Text, "100%")],
        example: "net.reset=100%,peerPort=5432",
        mechanisms: &[Mechanism::SockDestroy],
        blank: || {
            FaultKind::NetReset(NetReset {
                share: Share::ALL,
                filter: SocketFilter::default(),
            })
        },
    },
    Kind {
        name: "pressure.cpu",
        block: "pressureCpu",
        what: None,
        effect: Some("quota"),
        own: &[],
        required: &[key("quota", Type::Text, "25%")],
        example: "pressure.cpu=25%",
        mechanisms: &[Mechanism::CgroupKnob],
        blank: || {
            FaultKind::PressureCpu(PressureCpu {
                quota: CpuQuota::ONE,
            })
        },
    },
    Kind {
        name: "syscall.delay",
        block: "syscallDelay",
        what: Some("ops"),
        effect: Some("delay"),
        own: OF_CALLS,
        required: &[
            key("ops", Type::List, "[fsync]"),
            key("delay", Type::Text, "200ms"),
        ],
        example: "syscall.delay:fsync=200ms",
        mechanisms: &[
            Mechanism::SeccompNotify,
            Mechanism::FmodRetSyscall,
            Mechanism::KprobeOverride,
            Mechanism::Lsm,
            Mechanism::FmodRet,
        ],
        blank: || {
            FaultKind::SyscallDelay(SyscallDelay {
                ops: Vec::new(),
                delay: SyscallDelay::MIN,
                filter: CallFilter::default(),
            })
        },
    },
    Kind {
        name: "syscall.error",
        block: "syscallError",
        what: Some("ops"),
        effect: Some("errno"),
        own: OF_CALLS,
        required: &[
            key("ops", Type::List, "[fsync]"),
            key("errno", Type::Text, "EIO"),
        ],
        example: "syscall.error:fsync=EIO",
        mechanisms: &[
            Mechanism::FmodRetSyscall,
            Mechanism::KprobeOverride,
            Mechanism::Lsm,
            Mechanism::FmodRet,
            Mechanism::SeccompNotify,
        ],
        blank: || {
            FaultKind::SyscallError(SyscallError {
                ops: Vec::new(),
                errno: Errno::EIO,
                filter: CallFilter::default(),
            })
        },
    },
    Kind {
        name: "syscall.return",
        block: "syscallReturn",
        what: Some("ops"),
        effect: Some("value"),
        own: OF_CALLS,
        required: &[
            key("ops", Type::List, "[write]"),
            key("value", Type::Count, "100"),
        ],
        example: "syscall.return:write=100",
        mechanisms: &[
            Mechanism::FmodRetSyscall,
            Mechanism::KprobeOverride,
            Mechanism::SeccompNotify,
        ],
        blank: || {
            FaultKind::SyscallReturn(SyscallReturn {
                ops: Vec::new(),
                value: 0,
                filter: CallFilter::default(),
            })
        },
    },
];

/// Words for a link of which one thing is the point. Each is read as a `net.link` with that set, has all
/// the other keys of one too, and is written as a `net.link` again.
pub(super) static SHORT_WORDS: [Kind; 5] = [
    short(
        "net.corrupt",
        "netCorrupt",
        &[key("corrupt", Type::Text, "1%")],
        "net.corrupt=1%",
    ),
    short(
        "net.delay",
        "netDelay",
        &[key("delay", Type::Text, "100ms")],
        "net.delay=100ms",
    ),
    short(
        "net.duplicate",
        "netDuplicate",
        &[key("duplicate", Type::Text, "1%")],
        "net.duplicate=1%",
    ),
    short(
        "net.rate",
        "netRate",
        &[key("rate", Type::Text, "10mbit")],
        "net.rate=10mbit",
    ),
    short(
        "net.reorder",
        "netReorder",
        &[key("reorder", Type::Text, "25%")],
        "net.reorder=25%,delay=10ms",
    ),
];

const fn short(
    name: &'static str,
    block: &'static str,
    effect: &'static [Key; 1],
    example: &'static str,
) -> Kind {
    Kind {
        name,
        block,
        what: None,
        effect: Some(effect[0].name),
        own: OF_LINK,
        required: effect,
        example,
        mechanisms: &[Mechanism::Ifb],
        blank: NetLink::blank_kind,
    }
}

/// Kinds of the design that are not built yet.
const PLANNED_KINDS: [&str; 1] = [
    // One a line, which `cargo xtask new-fault` takes out.
    "pressure.memory",
];

impl Kind {
    /// Of a typed fault.
    pub(super) fn of(kind: &FaultKind) -> &'static Self {
        // A test finds each of them.
        Self::named(kind.name()).unwrap_or_else(Self::stand_in)
    }

    /// What stands in for a kind that can't be told: one that breaks no rule by itself.
    pub(super) fn stand_in() -> &'static Self {
        &KINDS[13]
    }

    /// Whatever may stand for a kind: the kinds, and then the short words.
    pub(super) fn every() -> impl Iterator<Item = &'static Self> {
        KINDS.iter().chain(&SHORT_WORDS)
    }

    /// By its name in a fault word.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        Self::every().find(|kind| kind.name == name)
    }

    /// By the key of its block.
    pub(super) fn of_block(block: &str) -> Option<&'static Self> {
        Self::every().find(|kind| kind.block == block)
    }

    /// The direction of a kind about packets where none is said.
    pub(super) fn direction(&self) -> Option<Direction> {
        (self.blank)().traffic().map(|traffic| traffic.direction)
    }

    /// Every key of its block in a file.
    pub(super) fn block_keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        let required = self.required;
        let is_new = move |own: &&Key| required.iter().all(|key| key.name != own.name);
        let own = self.own.iter().filter(is_new);
        required.iter().chain(own).chain(&IN_BLOCK)
    }

    /// Every key after a comma in a word.
    pub(super) fn word_keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        let in_block = IN_BLOCK.iter().filter(|key| key.name != "probability");
        let in_front = [self.what, self.effect];
        let is_behind = move |key: &&Key| !in_front.contains(&Some(key.name));
        let own = self.own.iter().filter(is_behind);
        own.chain(in_block).chain(&ON_FAULT)
    }

    /// Whether this kind has a use for a key: its own it has, and of those that every kind knows it refuses some in any
    /// fault, which is nothing to offer.
    pub(super) fn uses(&self, key: &Key) -> bool {
        let is_common = IN_BLOCK
            .iter()
            .chain(&ON_FAULT)
            .any(|common| common.name == key.name);
        if !is_common {
            return true;
        }
        let mut fault = self.fault();
        let good = key.name == "mechanism" || fault.set(key.name, single(key.example)).is_err();
        good || fault.rules().iter().all(|broken| broken.key != key.name)
    }

    /// A fault of this kind with its default values.
    pub(super) fn fault(&self) -> Fault {
        let kind = (self.blank)();
        Fault {
            id: kind.name().to_owned(),
            target: None,
            kind,
            common: Common::default(),
        }
    }
}

/// The only item of an example that is a list.
fn single(example: &'static str) -> &'static str {
    example.trim_matches(['[', ']'])
}

/// Why this is not the name of a kind in a word, or of a kind's block in a file.
pub(super) fn no_such_kind(text: &str, as_block: bool) -> BadValue {
    let spell = |name: &str| {
        if as_block {
            block_name(name)
        } else {
            name.to_owned()
        }
    };
    let names: Vec<String> = Kind::every().map(|kind| spell(kind.name)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let there_are = format!("there are {}", all_of(&names[..KINDS.len()]));
    if is_planned_kind(text, as_block) {
        return BadValue::new(
            format!("{} is not in this version", quoted(text)),
            there_are,
        );
    }
    let remedy = match nearest(text, names.iter().copied()) {
        Some(name) => format!("did you mean {name}?"),
        None => there_are,
    };
    BadValue::new(format!("{} is not a kind of fault", quoted(text)), remedy)
}

/// Whether the design has such a kind and this version does not.
pub(super) fn is_planned_kind(text: &str, as_block: bool) -> bool {
    PLANNED_KINDS.iter().any(|name| {
        if as_block {
            block_name(name) == text
        } else {
            *name == text
        }
    })
}

/// `file.error` is `fileError` in a file.
fn block_name(kind: &str) -> String {
    let mut out = String::new();
    let mut parts = kind.split('.');
    out.extend(parts.next());
    for part in parts {
        let mut chars = part.chars();
        out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}

impl FaultKind {
    /// The key of its block in a file.
    pub fn block(&self) -> &'static str {
        Kind::of(self).block
    }

    /// The mechanisms that can do this kind, the best first.
    pub fn mechanisms(&self) -> &'static [Mechanism] {
        Kind::of(self).mechanisms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_described_by_its_own_entry() {
        for kind in &KINDS {
            let fault = kind.fault();
            assert_eq!(fault.kind.name(), kind.name);
            assert_eq!(Kind::of(&fault.kind).name, kind.name);
            assert_eq!(block_name(kind.name), kind.block);
            assert!(!is_planned_kind(kind.name, false));
        }
    }

    #[test]
    fn each_short_word_is_a_link_with_one_thing_set() {
        for short in &SHORT_WORDS {
            assert_eq!(short.fault().kind.name(), "net.link");
            assert_eq!(short.fault().id, "net.link");
            assert_eq!(block_name(short.name), short.block);
            assert!(!is_planned_kind(short.name, false));
            let effect = &short.required[0];
            let own = OF_LINK.iter().find(|key| key.name == effect.name).unwrap();
            assert_eq!(own.example, effect.example);
            assert_eq!(short.block_keys().count(), OF_LINK.len() + IN_BLOCK.len());
            assert!(short.word_keys().all(|key| key.name != effect.name));
        }
    }

    #[test]
    fn every_example_is_good() {
        for kind in Kind::every() {
            for key in kind.block_keys().chain(&ON_FAULT) {
                let mut fault = kind.fault();
                let text = key.example.trim_matches(['[', ']']);
                assert_eq!(
                    fault.set(key.name, text),
                    Ok(()),
                    "{} {}",
                    kind.name,
                    key.name
                );
                let same = key.name == "share" && fault == kind.fault();
                let is_default = key.name == "errno";
                assert!(
                    same || is_default || fault != kind.fault(),
                    "{} {}",
                    kind.name,
                    key.name
                );
            }
        }
    }

    #[test]
    fn the_documentation_names_every_key() {
        let files = include_str!("../../../docs/experiments.md");
        let words = include_str!("../../../docs/fault-words.md");
        for short in &SHORT_WORDS {
            assert!(files.contains(&format!("`{}`", short.block)));
            assert!(words.contains(&format!("| `{}` |", short.example)));
        }
        for kind in &KINDS {
            assert!(
                files.contains(&format!("### `{}`", kind.block)),
                "{}",
                kind.block
            );
            assert!(
                words.contains(kind.example) && words.contains(kind.name),
                "{}",
                kind.name
            );
            for key in kind.block_keys().chain(&ON_FAULT) {
                let row = format!("\n| `{}` |", key.name);
                assert!(files.contains(&row), "{} {}", kind.name, key.name);
            }
            for key in kind.word_keys() {
                assert!(
                    words.contains(&format!("`{}`", key.name)),
                    "{} {}",
                    kind.name,
                    key.name
                );
            }
        }
        for key in PLANNED_KEYS {
            assert!(files.contains(&format!("`{key}`")), "{key}");
        }
    }

    #[test]
    fn what_a_kind_refuses_of_every_fault_is_not_offered() {
        let refused = |name: &str| -> Vec<&str> {
            let kind = Kind::named(name).unwrap();
            let common = IN_BLOCK.iter().chain(&ON_FAULT);
            common
                .filter(|key| !kind.uses(key))
                .map(|key| key.name)
                .collect()
        };
        assert_eq!(refused("syscall.error"), [""; 0]);
        assert_eq!(refused("file.error"), [""; 0]);
        assert_eq!(
            refused("net.loss"),
            ["probability", "scope", "comm", "uid", "thread", "stack"]
        );
        let of_events = [
            "probability",
            "when",
            "scope",
            "times",
            "maxRate",
            "replay",
            "seed",
        ];
        assert_eq!(refused("disk.readonly"), of_events);
        assert!(refused("disk.limit").contains(&"pulse"));
    }

    #[test]
    fn no_key_is_a_boolean_in_yaml_1_1() {
        for key in KINDS.iter().flat_map(Kind::block_keys).chain(&ON_FAULT) {
            let bad = ["y", "n", "yes", "no", "on", "off", "true", "false"];
            assert!(!bad.contains(&key.name), "{}", key.name);
        }
    }

    #[test]
    fn kinds_that_are_not_there() {
        let names = all_of(&KINDS.each_ref().map(|kind| kind.name));
        let blocks = all_of(&KINDS.each_ref().map(|kind| kind.block));
        assert_eq!(
            no_such_kind("pressure.memory", false).to_string(),
            format!("'pressure.memory' is not in this version; there are {names}")
        );
        assert_eq!(
            no_such_kind("pressureMemory", true).to_string(),
            format!("'pressureMemory' is not in this version; there are {blocks}")
        );
        assert_eq!(
            no_such_kind("file.eror", false).to_string(),
            "'file.eror' is not a kind of fault; did you mean file.error?"
        );
        assert_eq!(
            no_such_kind("net.dealy", false).to_string(),
            "'net.dealy' is not a kind of fault; did you mean net.delay?"
        );
        assert_eq!(
            no_such_kind("netRates", true).to_string(),
            "'netRates' is not a kind of fault; did you mean netRate?"
        );
        assert_eq!(
            no_such_kind("earthquake", false).to_string(),
            format!("'earthquake' is not a kind of fault; there are {names}")
        );
    }

    #[test]
    fn the_documentation_has_the_kinds_that_are_not_there() {
        let page = include_str!("../../../docs/fault-words.md");
        let (_, part) = page.split_once("## Kinds that are not there yet").unwrap();
        let (part, _) = part.split_once("\n## ").unwrap();
        let named: Vec<&str> = part.split('`').skip(1).step_by(2).collect();
        assert_eq!(named, PLANNED_KINDS);
    }
}
