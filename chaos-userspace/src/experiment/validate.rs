//! The rules that an experiment keeps however it was written: file, words or wire.

use std::{collections::HashMap, time::Duration};

use chaos_common::limits::RULES_PER_TARGET;

use super::{
    Common, DiskFull, DiskQuota, DiskReadonly, Exclude, Experiment, Fault, FaultKind, FileOp,
    NetDown, NetPartition, PathFilter, Scope, SyscallDelay, SyscallReturn, Target, Traffic,
    disk::check_disk,
    keys::{Kind, ON_FAULT},
    memory::check_twice,
    names::{MAX_PID, bad_pid, check_label, check_unit},
    paths::{check_cgroup, check_cgroups},
    quantity::format_duration,
    schedule::{check_at_most, check_lifetime},
    violation::{BadValue, Collector, Violation, Violations},
    wording::{all_of, either, quoted},
};

/// What an experiment has to say by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complete {
    /// Everything: each fault has a target and a duration, and no command is started.
    File,
    /// `kchaos run` supplies its command as the target, and its command's life as the duration.
    Run,
    /// What a node is asked to do, by whomever: its target may be a command, and its checks are made
    /// elsewhere.
    Plan,
}

/// A rule that a fault breaks, by the key that has to change.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) key: &'static str,
    pub(super) bad: BadValue,
}

impl Experiment {
    /// More faults than this are no experiment any more.
    pub const MAX_FAULTS: usize = 64;

    /// Checks every rule that is not about this machine.
    ///
    /// # Errors
    /// Every violation, by the path that the field has in a file.
    pub fn validate(&self, complete: Complete) -> Result<(), Violations> {
        let mut found = Collector::default();
        self.rules(complete, &mut found);
        found.finish(())
    }

    pub(super) fn rules(&self, complete: Complete, found: &mut Collector) {
        let mut check = |field: &str, result: Result<(), BadValue>| {
            found.extend(result.err().map(|bad| Violation::of(field, bad)));
        };
        check("metadata.name", check_label(&self.name, false));
        if let Some(target) = &self.target {
            check(&target.field("spec.target"), target.check(complete));
        }
        check(
            "spec.duration",
            self.duration.map_or(Ok(()), check_lifetime),
        );
        check("spec.faults", check_number(self.faults.len()));

        let mut ids = HashMap::new();
        for (i, fault) in self.faults.iter().enumerate() {
            let path = format!("spec.faults[{i}]");
            let mut check = |field: String, result: Result<(), BadValue>| {
                found.extend(result.err().map(|bad| Violation::of(field, bad)));
            };
            check(format!("{path}.id"), check_label(&fault.id, true));
            let first = *ids.entry(&fault.id).or_insert(i);
            if first != i {
                let id = quoted(&fault.id);
                let problem = format!("{id} is the id of spec.faults[{first}] already");
                let bad = BadValue::new(problem, "give each fault an id of its own");
                check(format!("{path}.id"), Err(bad));
            }
            if let Some(target) = &fault.target {
                check(
                    target.field(&format!("{path}.target")),
                    target.check(complete),
                );
            }
            if let Some(target) = fault.target.as_ref().or(self.target.as_ref()) {
                check(format!("{path}.target"), fault.kind.check_target(target));
            }
            check(path.clone(), self.check_crowd(i));
            for broken in fault.rules() {
                check(
                    format!("{path}.{}", place(&fault.kind, broken.key)),
                    Err(broken.bad),
                );
            }
        }
        self.check_checks(complete, found);
        if complete == Complete::File {
            self.check_inherited(found);
        }
    }

    /// That a place does not get more faults than it can have. Those of system calls have several
    /// places, of which the node takes one for each.
    fn check_crowd(&self, index: usize) -> Result<(), BadValue> {
        let place = |fault: &Fault| {
            let target = fault.target.clone().or_else(|| self.target.clone());
            (fault.kind.name(), target, fault.common.mechanism)
        };
        let fault = &self.faults[index];
        let own = place(fault);
        let before = self.faults[..index]
            .iter()
            .filter(|other| place(other) == own);
        let of_calls = own.0.starts_with("syscall.");
        if fault.kind.is_knob() || of_calls || before.count() != RULES_PER_TARGET {
            return Ok(());
        }
        Err(BadValue::new(
            format!(
                "is one too many: a target can have {RULES_PER_TARGET} faults of {} at a time",
                own.0
            ),
            "leave it out, or give it another target",
        ))
    }

    /// That each fault has a target and a duration: its own, or the experiment's.
    fn check_inherited(&self, found: &mut Collector) {
        let mut missing = |what: &str, remedy: &str, lacks: &dyn Fn(&Fault) -> bool| {
            let lacking: Vec<String> = self
                .faults
                .iter()
                .enumerate()
                .filter(|(_, fault)| lacks(fault))
                .map(|(i, _)| format!("spec.faults[{i}]"))
                .collect();
            let problem = if lacking.len() == self.faults.len() {
                "is missing".to_owned()
            } else if let [one] = lacking.as_slice() {
                format!("is missing, and {one} has none of its own")
            } else if let [first, others @ ..] = lacking.as_slice() {
                format!(
                    "is missing, and {first} and {} more have none of their own",
                    others.len()
                )
            } else {
                return;
            };
            found.push(Violation::new(format!("spec.{what}"), problem).with_remedy(remedy));
        };
        if self.target.is_none() {
            let remedy = "say what is hit, such as target: {unit: nginx.service}";
            missing("target", remedy, &|fault| fault.target.is_none());
        }
        if self.duration.is_none() {
            let remedy = "say for how long, such as duration: 30s";
            missing("duration", remedy, &|fault| fault.common.duration.is_none());
        }
    }
}

fn check_number(faults: usize) -> Result<(), BadValue> {
    let max = Experiment::MAX_FAULTS;
    match faults {
        0 => Err(BadValue::new("has no fault", "say at least one")),
        n if n > max => Err(BadValue::new(
            format!("has {n} faults"),
            format!("say at most {max}"),
        )),
        _ => Ok(()),
    }
}

/// Where a key stands below its fault in a file.
pub(super) fn place(kind: &FaultKind, key: &str) -> String {
    if ON_FAULT.iter().any(|on_fault| on_fault.name == key) {
        key.to_owned()
    } else {
        format!("{}.{key}", Kind::of(kind).block)
    }
}

impl Target {
    /// The path of its only key.
    fn field(&self, path: &str) -> String {
        let key = match self {
            Self::Cgroup(_) => "cgroup",
            Self::Cgroups(_) => "cgroups",
            Self::Unit(_) => "unit",
            Self::Pid(_) => "pid",
            Self::Command(_) => "command",
        };
        format!("{path}.{key}")
    }

    fn check(&self, complete: Complete) -> Result<(), BadValue> {
        match self {
            Self::Cgroup(path) => check_cgroup(path),
            Self::Cgroups(paths) => check_cgroups(paths),
            Self::Unit(name) => check_unit(name),
            Self::Pid(1) => Err(BadValue::new("1 is init", "name another process")),
            Self::Pid(pid) if *pid < 2 || *pid > MAX_PID => Err(bad_pid((*pid).into())),
            Self::Command(_) if complete == Complete::File => Err(BadValue::new(
                "only `kchaos run` starts a command",
                "use that, or name a cgroup, a unit or a pid",
            )),
            Self::Command(words) if words.first().is_none_or(String::is_empty) => Err(
                BadValue::new("names no program", "say the program and its arguments"),
            ),
            Self::Command(words) if words.iter().any(|word| word.contains('\0')) => Err(
                BadValue::new("has a zero byte in it", "no argument has one"),
            ),
            Self::Pid(_) | Self::Command(_) => Ok(()),
        }
    }
}

impl FaultKind {
    /// Whether it is a limit that stands in a control file of one cgroup.
    const fn is_knob(&self) -> bool {
        matches!(self, Self::DiskLimit(_) | Self::PressureCpu(_))
    }

    /// Whether it is a state that a disk is in, for whoever meets it.
    const fn is_state(&self) -> bool {
        matches!(
            self,
            Self::DiskFull(_) | Self::DiskReadonly(_) | Self::DiskQuota(_)
        )
    }

    /// What its events are called, if they belong to no task.
    const fn of_no_task(&self) -> Option<&'static str> {
        match self {
            Self::DnsAnswer(_) | Self::DnsDelay(_) | Self::DnsError(_) => {
                Some("answers of servers")
            }
            Self::NetDown(_) | Self::NetLink(_) | Self::NetLoss(_) | Self::NetPartition(_) => {
                Some("packets")
            }
            Self::NetReset(_) => Some("connections"),
            Self::DiskError(_) => Some("requests to disks"),
            _ => None,
        }
    }

    fn check_target(&self, target: &Target) -> Result<(), BadValue> {
        if let (Some(events), Target::Pid(_)) = (self.of_no_task(), target) {
            return Err(BadValue::new(
                format!("{} can't hit a pid: {events} have none", self.name()),
                "name a cgroup or a unit",
            ));
        }
        match (self, target) {
            (_, Target::Pid(_)) if self.is_knob() => Err(BadValue::new(
                format!("{} can't hit a pid: the limit is a cgroup's", self.name()),
                "name a cgroup or a unit",
            )),
            (_, Target::Cgroups(_)) if self.is_knob() => Err(BadValue::new(
                format!(
                    "{} can't hit several cgroups: each has a limit of its own",
                    self.name()
                ),
                "write a fault for each cgroup",
            )),
            (Self::NetConnect(_), Target::Pid(_)) => Err(BadValue::new(
                "net.connect can't hit a pid: its programs hang on cgroups",
                "name a cgroup or a unit, and comm to hit processes of one name alone",
            )),
            _ => Ok(()),
        }
    }
}

impl Fault {
    /// The rules of the fault alone.
    pub(super) fn rules(&self) -> Vec<Broken> {
        let mut broken = Vec::new();
        let mut check = |key, result: Result<(), BadValue>| {
            broken.extend(result.err().map(|bad| Broken { key, bad }));
        };
        match &self.kind {
            FaultKind::FileError(fault) => {
                check("ops", check_ops(&fault.ops, "open"));
                check("path", check_path(&fault.ops, fault.path.as_ref()));
                check(
                    "includeExec",
                    check_include_exec(&fault.ops, fault.include_exec),
                );
            }
            FaultKind::FileDelay(fault) => {
                check("ops", check_ops(&fault.ops, "read"));
                check("delay", check_delay(fault.delay));
                check("path", check_path(&fault.ops, fault.path.as_ref()));
                check(
                    "includeExec",
                    check_include_exec(&fault.ops, fault.include_exec),
                );
            }
            FaultKind::NetLoss(fault) => {
                for (key, result) in fault.traffic.rules() {
                    check(key, result);
                }
                check("probability", self.check_no_probability());
            }
            FaultKind::NetPartition(fault) => {
                for (key, result) in fault.traffic.rules() {
                    check(key, result);
                }
                check("peer", check_partition(fault));
            }
            FaultKind::NetDown(NetDown { direction, visible }) => {
                let traffic = Traffic {
                    direction: *direction,
                    visible: *visible,
                    ..Traffic::default()
                };
                for (key, result) in traffic.rules() {
                    check(key, result);
                }
            }
            FaultKind::DiskLimit(fault) => {
                for (key, result) in fault.rules() {
                    check(key, result);
                }
            }
            FaultKind::DiskError(fault) => {
                for (key, result) in fault.rules() {
                    check(key, result);
                }
            }
            FaultKind::NetConnect(fault) => {
                for (key, result) in fault.rules() {
                    check(key, result);
                }
            }
            FaultKind::NetReset(fault) => {
                for (key, result) in fault.rules() {
                    check(key, result);
                }
                check("probability", self.check_no_probability());
            }
            FaultKind::NetLink(fault) => {
                for (key, result) in fault.rules() {
                    check(key, result);
                }
            }
            FaultKind::ClockFreeze(_)
            | FaultKind::ClockOffset(_)
            | FaultKind::ClockSpeed(_)
            | FaultKind::ClockStep(_) => {
                for (key, result) in self.kind.clock_rules() {
                    check(key, result);
                }
            }
            FaultKind::DnsError(fault) => {
                for (key, result) in fault.filter.rules() {
                    check(key, result);
                }
            }
            FaultKind::DnsAnswer(fault) => {
                for (key, result) in fault.rules() {
                    check(key, result);
                }
            }
            FaultKind::DnsDelay(fault) => {
                for (key, result) in fault.rules() {
                    check(key, result);
                }
            }
            FaultKind::PressureCpu(_) => {}
            FaultKind::SyscallDelay(fault) => {
                check("ops", check_ops(&fault.ops, "fsync"));
                check("delay", check_delay(fault.delay));
            }
            FaultKind::SyscallError(fault) => check("ops", check_ops(&fault.ops, "fsync")),
            FaultKind::SyscallReturn(fault) => {
                check("ops", check_ops(&fault.ops, "write"));
                check("value", check_value(fault.value));
            }
            FaultKind::MemSlab(fault) => {
                for (key, result) in fault.rules() {
                    check(key, result);
                }
            }
            FaultKind::MemPage(fault) => {
                for (key, result) in fault.rules() {
                    check(key, result);
                }
            }
            FaultKind::MemMmap(fault) => check("ops", check_twice(&fault.ops)),
            FaultKind::DiskFull(DiskFull { path, .. })
            | FaultKind::DiskReadonly(DiskReadonly { path })
            | FaultKind::DiskQuota(DiskQuota { path, .. }) => check("path", check_disk(path)),
        }
        if let Some((ops, filter)) = self.kind.of_calls() {
            for (key, result) in filter.rules(ops) {
                check(key, result);
            }
        }
        let common = &self.common;
        if self.kind.is_knob() {
            for key in common.per_event() {
                let bad = BadValue::new(
                    format!(
                        "{} has none: it is a limit, and decides about no event",
                        self.kind.name()
                    ),
                    "leave it out",
                );
                check(key, Err(bad));
            }
        }
        if self.kind.clocks().is_some() {
            let is_step = matches!(self.kind, FaultKind::ClockStep(_));
            for key in common.per_event() {
                // Steps are few, and everybody sees the same ones.
                if matches!(key, "pulse" | "exclude") || is_step && key == "times" {
                    continue;
                }
                let bad = BadValue::new(
                    format!("{} has none: it holds for every reading", self.kind.name()),
                    "leave it out",
                );
                check(key, Err(bad));
            }
        }
        if let Some(events) = self.kind.of_no_task() {
            for key in common.of_tasks() {
                let packets = BadValue::new(
                    format!("{} has none: {events} belong to no task", self.kind.name()),
                    "leave it out, or make the processes in question a target of their own",
                );
                check(key, Err(packets));
            }
        }
        if self.kind.is_state() {
            for key in common.of_some_events() {
                let bad = BadValue::new(
                    format!(
                        "{} has none: it holds for every event until it ends",
                        self.kind.name()
                    ),
                    "leave it out; file.error can have some events fail, as in \
                     file.error:write=ENOSPC@5%",
                );
                check(key, Err(bad));
            }
        }
        for key in common.beside_replay() {
            let bad = BadValue::new(
                "says which events, and so does replay",
                "leave one of them out",
            );
            check(key, Err(bad));
        }
        if common.stack && common.shadow {
            let bad = BadValue::new(
                "is about single injections, and in shadow there are none",
                "leave one of them out",
            );
            check("stack", Err(bad));
        }
        if common.stack && matches!(self.kind, FaultKind::NetConnect(_)) {
            let bad = BadValue::new(
                "net.connect can't tell it: the kernel shows its programs nobody's stack",
                "leave it out, or say syscall.error for connect, sendto, sendmsg and bind",
            );
            check("stack", Err(bad));
        }
        check("exclude", check_exclude(&common.exclude));
        check(
            "maxRate",
            common.max_rate.map_or(Ok(()), |rate| rate.check()),
        );
        check("when", common.when.map_or(Ok(()), |when| when.check()));
        check(
            "times",
            match common.times {
                Some(0) => Err(BadValue::new(
                    "is 0: nothing would be hit",
                    "say at least 1",
                )),
                _ => Ok(()),
            },
        );
        check("after", common.after.map_or(Ok(()), check_at_most));
        check("duration", common.duration.map_or(Ok(()), check_lifetime));
        check("pulse", common.pulse.map_or(Ok(()), |pulse| pulse.check()));
        if let Some(mechanism) = common.mechanism
            && !self.kind.mechanisms().contains(&mechanism)
        {
            let names: Vec<&str> = self.kind.mechanisms().iter().map(|m| m.name()).collect();
            check(
                "mechanism",
                Err(BadValue::new(
                    format!("{mechanism} can't do {}", self.kind.name()),
                    format!("say {}", either(&names)),
                )),
            );
        }
        broken
    }
}

impl Fault {
    /// For kinds whose effect is a share.
    fn check_no_probability(&self) -> Result<(), BadValue> {
        match self.common.probability {
            Some(_) => Err(BadValue::new(
                format!("{} has none: its effect is the share", self.kind.name()),
                "leave it out and say the share alone",
            )),
            None => Ok(()),
        }
    }
}

impl Common {
    /// The keys that are set and mean something for single events only.
    fn per_event(&self) -> impl Iterator<Item = &'static str> + use<> {
        [
            ("probability", self.probability.is_some()),
            ("when", self.when.is_some()),
            ("times", self.times.is_some()),
            ("maxRate", self.max_rate.is_some()),
            ("replay", self.replay.is_some()),
            ("seed", self.seed.is_some()),
            ("pulse", self.pulse.is_some()),
            ("shadow", self.shadow),
            ("exclude", !self.exclude.is_empty()),
        ]
        .into_iter()
        .filter_map(|(key, is_set)| is_set.then_some(key))
        .chain(self.of_tasks())
    }

    /// The keys that are set and let some of the matching events pass.
    fn of_some_events(&self) -> impl Iterator<Item = &'static str> + use<> {
        [
            ("probability", self.probability.is_some()),
            ("when", self.when.is_some()),
            ("scope", self.scope != Scope::default()),
            ("times", self.times.is_some()),
            ("maxRate", self.max_rate.is_some()),
            ("replay", self.replay.is_some()),
            ("seed", self.seed.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, is_set)| is_set.then_some(key))
    }

    /// The keys that are set and decide what a replay has decided.
    fn beside_replay(&self) -> impl Iterator<Item = &'static str> + use<> {
        let replayed = self.replay.is_some();
        [
            ("probability", self.probability.is_some()),
            ("when", self.when.is_some()),
            ("scope", self.scope != Scope::default()),
            ("times", self.times.is_some()),
            ("maxRate", self.max_rate.is_some()),
        ]
        .into_iter()
        .filter_map(move |(key, is_set)| (replayed && is_set).then_some(key))
    }

    /// The keys that are set and are about the task that an event is of.
    fn of_tasks(&self) -> impl Iterator<Item = &'static str> + use<> {
        [
            ("scope", self.scope != Scope::default()),
            ("comm", self.comm.is_some()),
            ("uid", self.uid.is_some()),
            ("thread", self.thread.is_some()),
            ("stack", self.stack),
        ]
        .into_iter()
        .filter_map(|(key, is_set)| is_set.then_some(key))
    }
}

fn check_exclude(exclude: &[Exclude]) -> Result<(), BadValue> {
    /// So that a rule's exclusions take their share of the kernel's map.
    const MAX: usize = 64;
    if exclude.len() > MAX {
        return Err(BadValue::new(
            format!("leaves {} cgroups out", exclude.len()),
            format!("say at most {MAX}"),
        ));
    }
    if (1..exclude.len()).any(|i| exclude[..i].contains(&exclude[i])) {
        return Err(BadValue::new("names one twice", "name it once"));
    }
    exclude.iter().try_for_each(Exclude::check)
}

/// At least one, none twice.
fn check_ops<T: PartialEq>(ops: &[T], example: &str) -> Result<(), BadValue> {
    if ops.is_empty() {
        let say = format!("say {example}");
        return Err(BadValue::new("names no operation", say));
    }
    check_twice(ops)
}

fn check_path(ops: &[FileOp], path: Option<&PathFilter>) -> Result<(), BadValue> {
    let Some(path) = path else {
        return Ok(());
    };
    let without: Vec<&str> = ops
        .iter()
        .filter(|op| !op.has_path())
        .map(|op| op.name())
        .collect();
    if without.is_empty() {
        return path.check();
    }
    Err(BadValue::new(
        format!(
            "can't be told for {}: the kernel does not say on which mount the file is",
            all_of(&without)
        ),
        "leave it out, or make these operations a fault of their own without a path",
    ))
}

fn check_include_exec(ops: &[FileOp], include_exec: bool) -> Result<(), BadValue> {
    if include_exec && !ops.iter().any(|op| op.in_exec()) {
        return Err(BadValue::new(
            "is about the opens and reads of an execve, and ops has neither",
            "leave it out, or add open or read",
        ));
    }
    Ok(())
}

fn check_delay(delay: Duration) -> Result<(), BadValue> {
    let range = SyscallDelay::MIN..=SyscallDelay::MAX;
    if range.contains(&delay) && delay.subsec_nanos().is_multiple_of(1000) {
        return Ok(());
    }
    Err(BadValue::new(
        format!("{} is not such a delay", format_duration(delay)),
        "say whole microseconds, from 1us to 1h",
    ))
}

fn check_value(value: u32) -> Result<(), BadValue> {
    let max = SyscallReturn::MAX;
    if value <= max {
        return Ok(());
    }
    let remedy = format!("say at most {max}, the highest int");
    Err(BadValue::new(format!("{value} is too large"), remedy))
}

/// From everybody would be no partition.
fn check_partition(fault: &NetPartition) -> Result<(), BadValue> {
    if fault.traffic.is_narrow() {
        return Ok(());
    }
    Err(BadValue::new(
        "is missing: the target would be cut off from everybody",
        "say whom it is cut off from, as in net.partition,peer=10.0.0.7, or say net.down",
    ))
}

/// Gives the faults whose id is the name of their kind numbers from the second of a name on, as in
/// `net.loss-2`, without touching any other; for faults that come from words.
pub fn number_default_ids(faults: &mut [Fault]) {
    let is_default: Vec<bool> = faults
        .iter()
        .map(|fault| fault.id == fault.kind.name())
        .collect();
    number_ids(faults, &is_default);
}

/// Appends faults that come from words, which have no ids of their own: each gets one that nobody has.
pub fn append_words(faults: &mut Vec<Fault>, mut words: Vec<Fault>) {
    let own = faults.len();
    faults.append(&mut words);
    let is_default: Vec<bool> = (0..faults.len()).map(|index| index >= own).collect();
    number_ids(faults, &is_default);
}

/// Gives each of the marked faults the name of its kind, with a number where that is taken.
pub(super) fn number_ids(faults: &mut [Fault], is_default: &[bool]) {
    let mut taken: Vec<String> = faults
        .iter()
        .zip(is_default)
        .filter(|(_, is_default)| !**is_default)
        .map(|(fault, _)| fault.id.clone())
        .collect();
    for (fault, _) in faults
        .iter_mut()
        .zip(is_default)
        .filter(|(_, is_default)| **is_default)
    {
        let kind = fault.kind.name();
        let mut id = kind.to_owned();
        let mut number = 2;
        while taken.contains(&id) {
            id = format!("{kind}-{number}");
            number += 1;
        }
        taken.push(id.clone());
        fault.id = id;
    }
}
