//! An experiment as a file again.

use std::fmt::Write as _;

use super::{API_VERSION, KIND, checks::format_check};
use crate::experiment::{
    DiskFull, DiskQuota, DnsFilter, Experiment, Fault, FaultKind, SocketFilter, SyscallOp, Target,
    keys::Kind, quantity::format_duration, task::changed,
};

/// The experiment as a file that [`parse`](super::parse) reads back as the same.
pub fn format(experiment: &Experiment) -> String {
    let mut out = Out::default();
    out.line(0, "apiVersion", API_VERSION);
    out.line(0, "kind", KIND);
    out.open(0, "metadata");
    out.line(2, "name", &scalar(&experiment.name));
    out.open(0, "spec");
    if let Some(target) = &experiment.target {
        out.target(2, target);
    }
    if let Some(duration) = experiment.duration {
        out.line(2, "duration", &format_duration(duration));
    }
    if let Some(seed) = experiment.seed {
        out.line(2, "seed", &seed.to_string());
    }
    if experiment.faults.is_empty() {
        out.line(2, "faults", "[]");
    } else {
        out.open(2, "faults");
    }
    for fault in &experiment.faults {
        for line in format_fault(fault).lines() {
            // Writing into a String can't fail.
            writeln!(out.0, "  {line}").ok();
        }
    }
    if !experiment.checks.is_empty() {
        out.open(2, "checks");
    }
    for line in experiment.checks.iter().map(format_check) {
        for line in line.lines() {
            writeln!(out.0, "  {line}").ok();
        }
    }
    out.0
}

/// One fault as an item of the list of faults, not indented.
pub fn format_fault(fault: &Fault) -> String {
    let mut out = Out("- ".to_owned());
    let common = &fault.common;
    out.line(0, "id", &scalar(&fault.id));
    if let Some(target) = &fault.target {
        out.target(2, target);
    }
    out.option(2, "after", common.after.map(format_duration));
    out.option(2, "duration", common.duration.map(format_duration));
    out.option(2, "pulse", common.pulse);
    out.open(2, Kind::of(&fault.kind).block);
    match &fault.kind {
        FaultKind::FileError(file) => {
            let ops: Vec<&str> = file.ops.iter().map(|op| op.name()).collect();
            out.line(4, "ops", &format!("[{}]", ops.join(", ")));
            out.option(4, "errno", Some(file.errno));
            out.option(
                4,
                "path",
                file.path.as_ref().map(|path| scalar(path.as_str())),
            );
            out.option(4, "includeExec", file.include_exec.then_some(true));
        }
        FaultKind::FileDelay(file) => {
            let ops: Vec<&str> = file.ops.iter().map(|op| op.name()).collect();
            out.line(4, "ops", &format!("[{}]", ops.join(", ")));
            out.option(4, "delay", Some(format_duration(file.delay)));
            out.option(
                4,
                "path",
                file.path.as_ref().map(|path| scalar(path.as_str())),
            );
            out.option(4, "includeExec", file.include_exec.then_some(true));
        }
        FaultKind::NetLoss(net) => {
            out.option(4, "share", Some(net.share));
        }
        FaultKind::NetDown(_) | FaultKind::NetPartition(_) => {}
        FaultKind::NetLink(link) => {
            for (key, text) in link.said() {
                out.line(4, key, &text);
            }
        }
        FaultKind::PressureCpu(cpu) => out.option(4, "quota", Some(cpu.quota)),
        FaultKind::SyscallDelay(call) => {
            out.calls(4, &call.ops);
            out.option(4, "delay", Some(format_duration(call.delay)));
        }
        FaultKind::SyscallError(call) => {
            out.calls(4, &call.ops);
            out.option(4, "errno", Some(call.errno));
        }
        FaultKind::SyscallReturn(call) => {
            out.calls(4, &call.ops);
            out.option(4, "value", Some(call.value));
        }
        FaultKind::DiskLimit(disk) => {
            out.line(4, "device", &scalar(&disk.device));
            out.option(4, "readBps", disk.read_bps);
            out.option(4, "writeBps", disk.write_bps);
            out.option(4, "readIops", disk.read_iops);
            out.option(4, "writeIops", disk.write_iops);
        }
        FaultKind::MemSlab(slab) => {
            out.line(4, "errno", "ENOMEM");
            out.option(4, "cache", slab.cache.as_ref().map(|name| scalar(name)));
            out.option(4, "minSize", slab.min_size);
            out.names(4, "gfp", &slab.gfp);
        }
        FaultKind::MemPage(page) => {
            out.line(4, "errno", "ENOMEM");
            out.option(4, "minOrder", page.min_order);
            out.names(4, "gfp", &page.gfp);
        }
        FaultKind::MemMmap(mmap) => {
            out.names(4, "ops", &mmap.ops);
            out.line(4, "errno", "ENOMEM");
            out.option(4, "minSize", mmap.min_size);
        }
        FaultKind::DiskReadonly(disk) => out.line(4, "path", &scalar(disk.path.as_str())),
        FaultKind::DiskFull(DiskFull { path, bytes })
        | FaultKind::DiskQuota(DiskQuota { path, bytes }) => {
            out.line(4, "path", &scalar(path.as_str()));
            out.option(4, "bytes", *bytes);
        }
        FaultKind::DiskError(disk) => {
            out.names(4, "ops", &disk.ops);
            out.line(4, "errno", "EIO");
            out.option(4, "device", disk.device.as_ref().map(|path| scalar(path)));
        }
        FaultKind::NetConnect(kind) => {
            out.names(4, "ops", &kind.ops);
            out.option(4, "errno", Some(kind.errno));
            out.sockets(4, &kind.filter);
        }
        FaultKind::NetReset(kind) => {
            out.option(4, "share", Some(kind.share));
            out.sockets(4, &kind.filter);
        }
        FaultKind::ClockFreeze(kind) => out.names(4, "clocks", &kind.clocks),
        FaultKind::ClockOffset(kind) => {
            out.names(4, "clocks", &kind.clocks);
            out.option(4, "offset", Some(kind.offset));
        }
        FaultKind::ClockSpeed(kind) => {
            out.names(4, "clocks", &kind.clocks);
            out.option(4, "speed", Some(kind.speed));
        }
        FaultKind::ClockStep(kind) => {
            out.names(4, "clocks", &kind.clocks);
            out.option(4, "offset", Some(kind.offset));
            out.option(4, "every", Some(format_duration(kind.every)));
        }
        FaultKind::DnsError(kind) => {
            out.option(4, "error", Some(kind.error));
            out.dns(4, &kind.filter);
        }
        FaultKind::DnsDelay(kind) => {
            out.option(4, "delay", Some(format_duration(kind.delay)));
            out.option(4, "jitter", kind.jitter.map(format_duration));
            out.dns(4, &kind.filter);
        }
        FaultKind::DnsAnswer(kind) => {
            out.line(4, "answer", &scalar(&kind.answer.to_string()));
            out.option(4, "ttl", (kind.ttl != 0).then_some(kind.ttl));
            out.dns(4, &kind.filter);
        }
    }
    let backwards = fault.kind.allows_backwards();
    out.option(4, "allowBackwards", backwards.then_some(true));
    if let Some((_, filter)) = fault.kind.of_calls() {
        out.list(4, "fd", &filter.fd);
        out.option(
            4,
            "path",
            filter.path.as_ref().map(|path| scalar(path.as_str())),
        );
        out.list(4, "peer", &filter.peer);
        out.option(4, "peerPort", filter.peer_port);
        out.list(4, "flags", &filter.flags);
        out.option(4, "minSize", filter.min_size);
    }
    if let Some(traffic) = fault.kind.traffic() {
        out.option(4, "direction", Some(traffic.direction));
        out.list(4, "peer", &traffic.peer);
        out.list(4, "exceptPeer", &traffic.except_peer);
        out.option(4, "peerPort", traffic.peer_port);
        out.option(4, "localPort", traffic.local_port);
        out.option(4, "proto", traffic.proto);
        out.option(4, "visible", traffic.visible.then_some(true));
    }
    out.option(4, "probability", common.probability);
    // Quoted always, so that the type does not change from one `when` to the next.
    out.option(4, "when", common.when.map(|when| quoted(&when.to_string())));
    out.option(4, "scope", changed(common.scope));
    out.option(4, "times", common.times);
    // Quoted, because YAML 1.1 reads some of these texts as something else.
    out.option(
        4,
        "maxRate",
        common.max_rate.map(|rate| quoted(&rate.to_string())),
    );
    out.option(
        4,
        "replay",
        common.replay.as_ref().map(|all| quoted(&all.to_string())),
    );
    out.option(
        4,
        "comm",
        common.comm.as_ref().map(|comm| scalar(comm.as_str())),
    );
    out.option(4, "uid", common.uid);
    out.option(
        4,
        "thread",
        common.thread.as_ref().map(|name| scalar(name.as_str())),
    );
    out.list(4, "exclude", &common.exclude);
    out.option(4, "seed", common.seed);
    out.option(4, "shadow", common.shadow.then_some(true));
    out.option(4, "stack", common.stack.then_some(true));
    out.option(4, "mechanism", common.mechanism);
    out.0
}

#[derive(Default)]
struct Out(String);

impl Out {
    fn open(&mut self, indent: usize, key: &str) {
        // Writing into a String can't fail.
        writeln!(self.0, "{:indent$}{key}:", "").ok();
    }

    fn line(&mut self, indent: usize, key: &str, value: &str) {
        writeln!(self.0, "{:indent$}{key}: {value}", "").ok();
    }

    fn option(&mut self, indent: usize, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.line(indent, key, &value.to_string());
        }
    }

    /// A list of words that are texts everywhere, if there are any.
    fn dns(&mut self, indent: usize, filter: &DnsFilter) {
        self.list(indent, "names", &filter.names);
        self.list(indent, "exceptNames", &filter.except_names);
        self.names(indent, "types", &filter.types);
        self.list(indent, "peer", &filter.peer);
    }

    fn names(&mut self, indent: usize, key: &str, names: &[impl ToString]) {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            self.line(indent, key, &format!("[{}]", names.join(", ")));
        }
    }

    fn calls(&mut self, indent: usize, ops: &[SyscallOp]) {
        // In YAML no plain text begins with the sign of a class.
        let ops: Vec<String> = ops
            .iter()
            .map(|op| match op {
                SyscallOp::Call(call) => call.to_string(),
                SyscallOp::Class(class) => format!("\"{class}\""),
            })
            .collect();
        self.line(indent, "ops", &format!("[{}]", ops.join(", ")));
    }

    fn sockets(&mut self, indent: usize, filter: &SocketFilter) {
        self.list(indent, "peer", &filter.peer);
        self.option(indent, "peerPort", filter.peer_port);
        self.option(indent, "localPort", filter.local_port);
        self.option(indent, "proto", filter.protocol);
    }

    fn target(&mut self, indent: usize, target: &Target) {
        self.open(indent, "target");
        let indent = indent + 2;
        match target {
            Target::Cgroup(path) => self.line(indent, "cgroup", &scalar(path)),
            Target::Unit(name) => self.line(indent, "unit", &scalar(name)),
            Target::Pid(pid) => self.line(indent, "pid", &pid.to_string()),
            Target::Cgroups(paths) => self.texts(indent, "cgroups", paths),
            Target::Command(words) => self.texts(indent, "command", words),
        }
    }

    /// Nothing for an empty one.
    fn list(&mut self, indent: usize, key: &str, items: &[impl ToString]) {
        let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
        if !texts.is_empty() {
            self.texts(indent, key, &texts);
        }
    }

    fn texts(&mut self, indent: usize, key: &str, texts: &[String]) {
        let texts: Vec<String> = texts.iter().map(|text| scalar(text)).collect();
        self.line(indent, key, &format!("[{}]", texts.join(", ")));
    }
}

/// A text that is read as that text, also by readers of YAML 1.1 and inside `[ ]`.
pub(super) fn scalar(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Cautious: what this lets pass is a text everywhere.
fn is_plain(text: &str) -> bool {
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let goes_on_well = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/._@-".contains(&b));
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    starts_well && goes_on_well && !words.contains(&text.to_ascii_lowercase().as_str())
}

fn quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        let code = u32::from(c);
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' | '\u{a0}'..='\u{d7ff}' if !matches!(code, 0x2028 | 0x2029) => out.push(c),
            // Writing into a String can't fail.
            _ if code < 0x100 => {
                write!(out, "\\x{code:02x}").ok();
            }
            _ if code < 0x1_0000 => {
                write!(out, "\\u{code:04x}").ok();
            }
            _ => {
                write!(out, "\\U{code:08x}").ok();
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_text_everywhere_is_plain() {
        for text in ["nginx.service", "/d/f", "a-b_c@d", "x"] {
            assert_eq!(scalar(text), text);
        }
        for text in [
            "", "5", "1e3", "no", "Null", "~", "- a", "a: b", "a#", "a,b", "-x", ".5", "ä",
        ] {
            assert_eq!(scalar(text), format!("\"{text}\""));
        }
        assert_eq!(
            scalar("\n\"\\\u{85}\u{2028}\u{feff}\u{1f600}"),
            r#""\x0a\"\\\x85\u2028\ufeff\U0001f600""#
        );
    }
}
