//! From the model to the wire: whatever the model holds can be said there.

use std::time::Duration;

use crate::{
    api::proto,
    experiment::{
        ByteRate, ByteSize, CallFilter, Clock, ClockFreeze, ClockOffset, ClockSpeed, ClockStep,
        Common, ConnectOp, DiskError, DiskFull, DiskLimit, DiskOp, DiskQuota, DiskReadonly,
        Experiment, Fault, FaultKind, FileDelay, FileError, FileOp, Gfp, MapOp, Mechanism, MemMmap,
        MemPage, MemSlab, NetConnect, NetReset, PathFilter, PressureCpu, Protocol, Scope, Share,
        SocketFilter, SyscallDelay, SyscallError, SyscallReturn, Target,
    },
};

impl From<Mechanism> for proto::Mechanism {
    fn from(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Lsm => Self::Lsm,
            Mechanism::FmodRet => Self::FmodRet,
            Mechanism::CgroupSkb => Self::CgroupSkb,
            Mechanism::CgroupKnob => Self::CgroupKnob,
            Mechanism::Tcx => Self::Tcx,
            Mechanism::FmodRetSyscall => Self::FmodRetSyscall,
            Mechanism::KprobeOverride => Self::KprobeOverride,
            Mechanism::SeccompNotify => Self::SeccompNotify,
            Mechanism::CgroupSockAddr => Self::CgroupSockAddr,
            Mechanism::Vdso => Self::Vdso,
            Mechanism::SockDestroy => Self::SockDestroy,
            Mechanism::Ifb => Self::Ifb,
        }
    }
}

/// A duration of the model is far shorter than what the wire can hold.
pub(in crate::api) fn wire_duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}

impl From<&Experiment> for proto::Experiment {
    fn from(experiment: &Experiment) -> Self {
        Self {
            name: experiment.name.clone(),
            target: experiment.target.as_ref().map(Into::into),
            duration: experiment.duration.map(wire_duration),
            seed: experiment.seed,
            faults: experiment.faults.iter().map(Into::into).collect(),
            checks: experiment.checks.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Target> for proto::Target {
    fn from(target: &Target) -> Self {
        use proto::target::Target as Wire;
        Self {
            target: Some(match target {
                Target::Cgroup(path) => Wire::Cgroup(path.clone()),
                Target::Cgroups(paths) => Wire::Cgroups(proto::Cgroups {
                    paths: paths.clone(),
                }),
                Target::Unit(name) => Wire::Unit(name.clone()),
                Target::Pid(pid) => Wire::Pid(*pid),
                Target::Command(argv) => Wire::Command(proto::Command { argv: argv.clone() }),
            }),
        }
    }
}

impl From<&Fault> for proto::Fault {
    fn from(fault: &Fault) -> Self {
        use proto::fault::Kind as Wire;
        Self {
            id: fault.id.clone(),
            target: fault.target.as_ref().map(Into::into),
            common: Some((&fault.common).into()),
            kind: Some(match &fault.kind {
                FaultKind::FileError(kind) => Wire::FileError(kind.into()),
                FaultKind::NetLoss(kind) => Wire::NetLoss(kind.into()),
                FaultKind::NetPartition(kind) => Wire::NetPartition(kind.into()),
                FaultKind::NetDown(kind) => Wire::NetDown((*kind).into()),
                FaultKind::PressureCpu(kind) => Wire::PressureCpu(kind.into()),
                FaultKind::SyscallDelay(kind) => Wire::SyscallDelay(kind.into()),
                FaultKind::SyscallError(kind) => Wire::SyscallError(kind.into()),
                FaultKind::SyscallReturn(kind) => Wire::SyscallReturn(kind.into()),
                FaultKind::DiskLimit(kind) => Wire::DiskLimit(kind.into()),
                FaultKind::MemSlab(kind) => Wire::MemSlab(kind.into()),
                FaultKind::MemPage(kind) => Wire::MemPage(kind.into()),
                FaultKind::MemMmap(kind) => Wire::MemMmap(kind.into()),
                FaultKind::DiskFull(kind) => Wire::DiskFull(kind.into()),
                FaultKind::DiskReadonly(kind) => Wire::DiskReadonly(kind.into()),
                FaultKind::DiskQuota(kind) => Wire::DiskQuota(kind.into()),
                FaultKind::FileDelay(kind) => Wire::FileDelay(kind.into()),
                FaultKind::DiskError(kind) => Wire::DiskError(kind.into()),
                FaultKind::ClockOffset(kind) => Wire::ClockOffset(kind.into()),
                FaultKind::ClockSpeed(kind) => Wire::ClockSpeed(kind.into()),
                FaultKind::ClockFreeze(kind) => Wire::ClockFreeze(kind.into()),
                FaultKind::ClockStep(kind) => Wire::ClockStep(kind.into()),
                FaultKind::NetConnect(kind) => Wire::NetConnect(kind.into()),
                FaultKind::NetReset(kind) => Wire::NetReset(kind.into()),
                FaultKind::NetLink(kind) => Wire::NetLink(kind.into()),
                FaultKind::DnsError(kind) => Wire::DnsError(kind.into()),
                FaultKind::DnsAnswer(kind) => Wire::DnsAnswer(kind.into()),
                FaultKind::DnsDelay(kind) => Wire::DnsDelay(kind.into()),
            }),
        }
    }
}

impl From<FileOp> for proto::FileOp {
    fn from(op: FileOp) -> Self {
        match op {
            FileOp::Open => Self::Open,
            FileOp::Create => Self::Create,
            FileOp::Read => Self::Read,
            FileOp::Write => Self::Write,
            FileOp::Readdir => Self::Readdir,
            FileOp::Mkdir => Self::Mkdir,
            FileOp::Unlink => Self::Unlink,
            FileOp::Rmdir => Self::Rmdir,
            FileOp::Rename => Self::Rename,
            FileOp::Link => Self::Link,
            FileOp::Symlink => Self::Symlink,
            FileOp::Mknod => Self::Mknod,
            FileOp::Getattr => Self::Getattr,
            FileOp::Setattr => Self::Setattr,
            FileOp::Truncate => Self::Truncate,
            FileOp::Getxattr => Self::Getxattr,
            FileOp::Setxattr => Self::Setxattr,
            FileOp::Listxattr => Self::Listxattr,
            FileOp::Removexattr => Self::Removexattr,
        }
    }
}

impl From<&FileError> for proto::FileError {
    fn from(kind: &FileError) -> Self {
        Self {
            ops: wire_ops(&kind.ops),
            errno: kind.errno.name().to_owned(),
            path: wire_path(kind.path.as_ref()),
            include_exec: kind.include_exec,
        }
    }
}

impl From<&FileDelay> for proto::FileDelay {
    fn from(kind: &FileDelay) -> Self {
        Self {
            ops: wire_ops(&kind.ops),
            delay: Some(wire_duration(kind.delay)),
            path: wire_path(kind.path.as_ref()),
            include_exec: kind.include_exec,
        }
    }
}

fn wire_ops(ops: &[FileOp]) -> Vec<i32> {
    ops.iter()
        .map(|op| proto::FileOp::from(*op).into())
        .collect()
}

fn wire_path(path: Option<&PathFilter>) -> String {
    match path {
        None => String::new(),
        Some(PathFilter::File(path) | PathFilter::Subtree(path)) => path.clone(),
    }
}

impl From<&PressureCpu> for proto::PressureCpu {
    fn from(kind: &PressureCpu) -> Self {
        Self {
            quota_millipercent: kind.quota.millipercent(),
        }
    }
}

impl From<&SyscallError> for proto::SyscallError {
    fn from(kind: &SyscallError) -> Self {
        Self {
            filter: (kind.filter != CallFilter::default()).then(|| (&kind.filter).into()),
            ops: kind.ops.iter().map(ToString::to_string).collect(),
            errno: kind.errno.name().to_owned(),
        }
    }
}

impl From<&SyscallDelay> for proto::SyscallDelay {
    fn from(kind: &SyscallDelay) -> Self {
        Self {
            filter: (kind.filter != CallFilter::default()).then(|| (&kind.filter).into()),
            ops: kind.ops.iter().map(ToString::to_string).collect(),
            delay: Some(wire_duration(kind.delay)),
        }
    }
}

impl From<&SyscallReturn> for proto::SyscallReturn {
    fn from(kind: &SyscallReturn) -> Self {
        Self {
            filter: (kind.filter != CallFilter::default()).then(|| (&kind.filter).into()),
            ops: kind.ops.iter().map(ToString::to_string).collect(),
            value: Some(kind.value),
        }
    }
}

impl From<&DiskLimit> for proto::DiskLimit {
    fn from(kind: &DiskLimit) -> Self {
        Self {
            device: kind.device.clone(),
            read_bps: kind.read_bps.map(ByteRate::bytes),
            write_bps: kind.write_bps.map(ByteRate::bytes),
            read_iops: kind.read_iops,
            write_iops: kind.write_iops,
        }
    }
}

impl From<Gfp> for proto::GfpClass {
    fn from(class: Gfp) -> Self {
        match class {
            Gfp::Kernel => Self::Kernel,
            Gfp::Nofs => Self::Nofs,
            Gfp::User => Self::User,
            Gfp::Atomic => Self::Atomic,
        }
    }
}

fn classes(gfp: &[Gfp]) -> Vec<i32> {
    let classes = gfp.iter().map(|class| proto::GfpClass::from(*class).into());
    classes.collect()
}

impl From<&MemSlab> for proto::MemSlab {
    fn from(kind: &MemSlab) -> Self {
        Self {
            cache: kind.cache.clone(),
            min_size: kind.min_size.map(ByteSize::bytes),
            gfp: classes(&kind.gfp),
        }
    }
}

impl From<&MemPage> for proto::MemPage {
    fn from(kind: &MemPage) -> Self {
        Self {
            min_order: kind.min_order,
            gfp: classes(&kind.gfp),
        }
    }
}

impl From<MapOp> for proto::MapOp {
    fn from(op: MapOp) -> Self {
        match op {
            MapOp::Mmap => Self::Mmap,
            MapOp::Brk => Self::Brk,
            MapOp::Mremap => Self::Mremap,
        }
    }
}

impl From<&MemMmap> for proto::MemMmap {
    fn from(kind: &MemMmap) -> Self {
        Self {
            ops: kind
                .ops
                .iter()
                .map(|op| proto::MapOp::from(*op).into())
                .collect(),
            min_size: kind.min_size.map(ByteSize::bytes),
        }
    }
}

impl From<&DiskFull> for proto::DiskFull {
    fn from(kind: &DiskFull) -> Self {
        Self {
            path: kind.path.as_str().to_owned(),
            bytes: kind.bytes.map(ByteSize::bytes),
        }
    }
}

impl From<&DiskReadonly> for proto::DiskReadonly {
    fn from(kind: &DiskReadonly) -> Self {
        Self {
            path: kind.path.as_str().to_owned(),
        }
    }
}

impl From<&DiskQuota> for proto::DiskQuota {
    fn from(kind: &DiskQuota) -> Self {
        Self {
            path: kind.path.as_str().to_owned(),
            bytes: kind.bytes.map(ByteSize::bytes),
        }
    }
}

impl From<&DiskError> for proto::DiskError {
    fn from(kind: &DiskError) -> Self {
        Self {
            ops: kind
                .ops
                .iter()
                .map(|op| proto::DiskOp::from(*op).into())
                .collect(),
            device: kind.device.clone(),
        }
    }
}

impl From<DiskOp> for proto::DiskOp {
    fn from(op: DiskOp) -> Self {
        match op {
            DiskOp::Read => Self::Read,
            DiskOp::Write => Self::Write,
            DiskOp::Flush => Self::Flush,
            DiskOp::Discard => Self::Discard,
        }
    }
}

impl From<&ClockFreeze> for proto::ClockFreeze {
    fn from(kind: &ClockFreeze) -> Self {
        Self {
            clocks: clocks(&kind.clocks),
        }
    }
}

impl From<&ClockOffset> for proto::ClockOffset {
    fn from(kind: &ClockOffset) -> Self {
        Self {
            clocks: clocks(&kind.clocks),
            offset_ns: kind.offset.nanos(),
            allow_backwards: kind.allow_backwards,
        }
    }
}

impl From<&ClockSpeed> for proto::ClockSpeed {
    fn from(kind: &ClockSpeed) -> Self {
        Self {
            clocks: clocks(&kind.clocks),
            speed_billionths: kind.speed.billionths(),
            allow_backwards: kind.allow_backwards,
        }
    }
}

impl From<&ClockStep> for proto::ClockStep {
    fn from(kind: &ClockStep) -> Self {
        Self {
            clocks: clocks(&kind.clocks),
            offset_ns: kind.offset.nanos(),
            every: Some(wire_duration(kind.every)),
            allow_backwards: kind.allow_backwards,
        }
    }
}

fn clocks(clocks: &[Clock]) -> Vec<i32> {
    let wire = |clock: &Clock| proto::Clock::from(*clock).into();
    clocks.iter().map(wire).collect()
}

impl From<Clock> for proto::Clock {
    fn from(clock: Clock) -> Self {
        match clock {
            Clock::Realtime => Self::Realtime,
            Clock::Monotonic => Self::Monotonic,
            Clock::Boottime => Self::Boottime,
        }
    }
}

impl From<&NetConnect> for proto::NetConnect {
    fn from(kind: &NetConnect) -> Self {
        Self {
            ops: kind
                .ops
                .iter()
                .map(|op| proto::ConnectOp::from(*op).into())
                .collect(),
            errno: kind.errno.to_string(),
            filter: sockets(&kind.filter),
        }
    }
}

impl From<ConnectOp> for proto::ConnectOp {
    fn from(op: ConnectOp) -> Self {
        match op {
            ConnectOp::Connect => Self::Connect,
            ConnectOp::Sendmsg => Self::Sendmsg,
            ConnectOp::Bind => Self::Bind,
        }
    }
}

/// Nothing for one that asks nothing.
fn sockets(filter: &SocketFilter) -> Option<proto::SocketFilter> {
    (*filter != SocketFilter::default()).then(|| proto::SocketFilter {
        peer: filter.peer.iter().map(ToString::to_string).collect(),
        peer_port: filter.peer_port.map(Into::into),
        local_port: filter.local_port.map(Into::into),
        protocol: match filter.protocol {
            None => proto::Protocol::Unspecified,
            Some(Protocol::Tcp) => proto::Protocol::Tcp,
            Some(Protocol::Udp) => proto::Protocol::Udp,
        }
        .into(),
    })
}

impl From<&NetReset> for proto::NetReset {
    fn from(kind: &NetReset) -> Self {
        Self {
            share: Some(kind.share.into()),
            filter: sockets(&kind.filter),
        }
    }
}

impl From<Share> for proto::Share {
    fn from(share: Share) -> Self {
        Self {
            billionths: share.billionths(),
        }
    }
}

impl From<&Common> for proto::Common {
    fn from(common: &Common) -> Self {
        Self {
            probability: common.probability.map(Into::into),
            when: common.when.map(|when| proto::When {
                first: when.first,
                last: when.last,
                step: when.step,
            }),
            scope: match common.scope {
                Scope::Rule => proto::Scope::Rule,
                Scope::Thread => proto::Scope::Thread,
            }
            .into(),
            times: common.times,
            max_rate: common.max_rate.map(|rate| proto::Rate {
                count: rate.count,
                per: Some(wire_duration(rate.per)),
            }),
            replay: common.replay.as_ref().map(|replay| proto::Replay {
                ordinals: replay.as_slice().to_vec(),
            }),
            comm: common
                .comm
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            uid: common.uid,
            thread: common
                .thread
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            exclude: common.exclude.iter().map(ToString::to_string).collect(),
            seed: common.seed,
            duration: common.duration.map(wire_duration),
            after: common.after.map(wire_duration),
            pulse: common.pulse.map(|pulse| proto::Pulse {
                active: Some(wire_duration(pulse.active)),
                every: Some(wire_duration(pulse.every)),
            }),
            shadow: common.shadow,
            stack: common.stack,
            mechanism: common
                .mechanism
                .map_or(proto::Mechanism::Unspecified, Into::into)
                .into(),
        }
    }
}
