//! A fault as a word again, and what is wrong with a word, shown under it.

use std::fmt::{Display, Write as _};

use crate::experiment::{
    DiskFull, DiskQuota, DiskReadonly, DnsFilter, Fault, FaultKind, SocketFilter, SyscallOp,
    keys::Kind, quantity::format_duration, task::changed, violation::Violations,
};

/// The fault as a word that [`parse`](super::parse) reads back as the same, except for its id and its target,
/// which no word has.
pub fn format(fault: &Fault) -> String {
    let mut out = Out(fault.kind.name().to_owned());
    let common = &fault.common;
    match &fault.kind {
        FaultKind::FileError(file) => {
            let ops: Vec<&str> = file.ops.iter().map(|op| op.name()).collect();
            out.push(':', &ops.join("+"));
            out.push('=', &file.errno);
        }
        FaultKind::FileDelay(file) => {
            let ops: Vec<&str> = file.ops.iter().map(|op| op.name()).collect();
            out.push(':', &ops.join("+"));
            out.push('=', &format_duration(file.delay));
        }
        FaultKind::NetLoss(net) => out.push('=', &net.share),
        FaultKind::NetDown(_) | FaultKind::NetLink(_) | FaultKind::NetPartition(_) => {}
        FaultKind::PressureCpu(cpu) => out.push('=', &cpu.quota),
        FaultKind::SyscallDelay(call) => {
            out.calls(&call.ops);
            out.push('=', &format_duration(call.delay));
        }
        FaultKind::SyscallError(call) => {
            out.calls(&call.ops);
            out.push('=', &call.errno);
        }
        FaultKind::SyscallReturn(call) => {
            out.calls(&call.ops);
            out.push('=', &call.value);
        }
        FaultKind::DiskLimit(disk) => out.push('=', &disk.device),
        FaultKind::MemSlab(_) | FaultKind::MemPage(_) => out.push('=', &"ENOMEM"),
        FaultKind::MemMmap(kind) => {
            if !kind.ops.is_empty() {
                let ops: Vec<&str> = kind.ops.iter().map(|op| op.name()).collect();
                out.push(':', &ops.join("+"));
            }
            out.push('=', &"ENOMEM");
        }
        FaultKind::DiskFull(DiskFull { path, .. })
        | FaultKind::DiskReadonly(DiskReadonly { path })
        | FaultKind::DiskQuota(DiskQuota { path, .. }) => out.push('=', &path),
        FaultKind::DiskError(kind) => {
            if !kind.ops.is_empty() {
                let ops: Vec<&str> = kind.ops.iter().map(|op| op.name()).collect();
                out.push(':', &ops.join("+"));
            }
            out.push('=', &"EIO");
        }
        FaultKind::NetConnect(kind) => {
            if !kind.ops.is_empty() {
                let ops: Vec<&str> = kind.ops.iter().map(|op| op.name()).collect();
                out.push(':', &ops.join("+"));
            }
            out.push('=', &kind.errno);
        }
        FaultKind::NetReset(kind) => out.push('=', &kind.share),
        FaultKind::ClockFreeze(kind) => out.names(&kind.clocks),
        FaultKind::ClockOffset(kind) => {
            out.names(&kind.clocks);
            out.push('=', &kind.offset);
        }
        FaultKind::ClockSpeed(kind) => {
            out.names(&kind.clocks);
            out.push('=', &kind.speed);
        }
        FaultKind::ClockStep(kind) => {
            out.names(&kind.clocks);
            out.push('=', &kind.offset);
        }
        FaultKind::DnsAnswer(kind) => {
            out.names(&kind.filter.names);
            out.push('=', &kind.answer);
        }
        FaultKind::DnsDelay(kind) => {
            out.names(&kind.filter.names);
            out.push('=', &format_duration(kind.delay));
        }
        FaultKind::DnsError(kind) => {
            out.names(&kind.filter.names);
            out.push('=', &kind.error);
        }
    }
    if let Some(probability) = common.probability {
        out.push('@', &probability);
    }
    match &fault.kind {
        FaultKind::FileError(file) => {
            out.key("path", file.path.as_ref());
            out.key("includeExec", file.include_exec.then_some(true));
        }
        FaultKind::FileDelay(file) => {
            out.key("path", file.path.as_ref());
            out.key("includeExec", file.include_exec.then_some(true));
        }
        FaultKind::DiskLimit(disk) => {
            out.key("readBps", disk.read_bps);
            out.key("writeBps", disk.write_bps);
            out.key("readIops", disk.read_iops);
            out.key("writeIops", disk.write_iops);
        }
        FaultKind::MemSlab(slab) => {
            out.key("cache", slab.cache.as_ref());
            out.key("minSize", slab.min_size);
            for class in &slab.gfp {
                out.key("gfp", Some(class));
            }
        }
        FaultKind::MemPage(page) => {
            out.key("minOrder", page.min_order);
            for class in &page.gfp {
                out.key("gfp", Some(class));
            }
        }
        FaultKind::MemMmap(mmap) => out.key("minSize", mmap.min_size),
        FaultKind::DiskFull(DiskFull { bytes, .. })
        | FaultKind::DiskQuota(DiskQuota { bytes, .. }) => out.key("bytes", *bytes),
        FaultKind::DiskError(disk) => out.key("device", disk.device.as_ref()),
        FaultKind::DnsAnswer(kind) => {
            out.key("ttl", (kind.ttl != 0).then_some(kind.ttl));
            out.dns(&kind.filter);
        }
        FaultKind::DnsDelay(kind) => {
            out.key("jitter", kind.jitter.map(format_duration));
            out.dns(&kind.filter);
        }
        FaultKind::DnsError(kind) => out.dns(&kind.filter),
        FaultKind::NetConnect(net) => out.sockets(&net.filter),
        FaultKind::NetReset(net) => out.sockets(&net.filter),
        FaultKind::NetLink(link) => {
            for (key, text) in link.said() {
                out.key(key, Some(text));
            }
        }
        FaultKind::ClockStep(kind) => {
            out.key("every", Some(format_duration(kind.every)));
            out.key("allowBackwards", kind.allow_backwards.then_some(true));
        }
        FaultKind::ClockOffset(_) | FaultKind::ClockSpeed(_) => {
            let allowed = fault.kind.allows_backwards();
            out.key("allowBackwards", allowed.then_some(true));
        }
        FaultKind::ClockFreeze(_)
        | FaultKind::DiskReadonly(_)
        | FaultKind::NetDown(_)
        | FaultKind::NetLoss(_)
        | FaultKind::NetPartition(_)
        | FaultKind::PressureCpu(_)
        | FaultKind::SyscallDelay(_)
        | FaultKind::SyscallError(_)
        | FaultKind::SyscallReturn(_) => {}
    }
    if let Some((_, filter)) = fault.kind.of_calls() {
        out.keys("fd", &filter.fd);
        out.key("path", filter.path.as_ref());
        out.keys("peer", &filter.peer);
        out.key("peerPort", filter.peer_port);
        out.keys("flags", &filter.flags);
        out.key("minSize", filter.min_size);
    }
    if let Some(traffic) = fault.kind.traffic() {
        let direction = Some(traffic.direction);
        let is_usual = direction == Kind::of(&fault.kind).direction();
        out.key("direction", direction.filter(|_| !is_usual));
        out.keys("peer", &traffic.peer);
        out.keys("exceptPeer", &traffic.except_peer);
        out.key("peerPort", traffic.peer_port);
        out.key("localPort", traffic.local_port);
        out.key("proto", traffic.proto);
        out.key("visible", traffic.visible.then_some(true));
    }
    out.key("when", common.when);
    out.key("scope", changed(common.scope));
    out.key("times", common.times);
    out.key("maxRate", common.max_rate);
    out.key("replay", common.replay.as_ref());
    out.key("comm", common.comm.as_ref());
    out.key("uid", common.uid);
    out.key("thread", common.thread.as_ref());
    for exclude in &common.exclude {
        out.key("exclude", Some(exclude));
    }
    out.key("seed", common.seed);
    out.key("after", common.after.map(format_duration));
    out.key("duration", common.duration.map(format_duration));
    out.key("pulse", common.pulse);
    out.key("shadow", common.shadow.then_some(true));
    out.key("stack", common.stack.then_some(true));
    out.key("mechanism", common.mechanism);
    out.0
}

struct Out(String);

impl Out {
    fn push(&mut self, separator: char, value: &dyn Display) {
        // Writing into a String can't fail.
        write!(self.0, "{separator}{value}").ok();
    }

    fn calls(&mut self, ops: &[SyscallOp]) {
        let ops: Vec<String> = ops.iter().map(ToString::to_string).collect();
        self.push(':', &ops.join("+"));
    }

    fn sockets(&mut self, filter: &SocketFilter) {
        self.keys("peer", &filter.peer);
        self.key("peerPort", filter.peer_port);
        self.key("localPort", filter.local_port);
        self.key("proto", filter.protocol);
    }

    /// All but the names, which stand in front.
    fn dns(&mut self, filter: &DnsFilter) {
        self.keys("exceptNames", &filter.except_names);
        self.keys("types", &filter.types);
        self.keys("peer", &filter.peer);
    }

    /// After `:`, if there are any.
    fn names(&mut self, names: &[impl ToString]) {
        if names.is_empty() {
            return;
        }
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.push(':', &names.join("+"));
    }

    /// One for each item.
    fn keys(&mut self, key: &str, values: &[impl Display]) {
        for value in values {
            self.key(key, Some(value));
        }
    }

    fn key(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            let value = value.to_string().replace('\\', "\\\\").replace(',', "\\,");
            write!(self.0, ",{key}={value}").ok();
        }
    }
}

/// What is wrong with a word, each violation under its place in the word.
///
/// ```text
/// file.error:open=EFOO
///                 ^^^^
/// errno: 'EFOO' is not the name of an errno; did you mean EIO?
/// ```
pub fn render(word: &str, violations: &Violations) -> String {
    let mut out = String::new();
    for (i, violation) in violations.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if let Some(span) = &violation.span {
            let before = word.get(..span.start).map_or(0, columns);
            let width = word.get(span.clone()).map_or(1, columns).max(1);
            out.extend(word.chars().map(visible));
            write!(out, "\n{:before$}{:^<width$}\n", "", "").ok();
        }
        writeln!(out, "{violation}").ok();
    }
    out
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

/// One column for what would move the cursor.
fn visible(c: char) -> char {
    if c.is_control() {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}
