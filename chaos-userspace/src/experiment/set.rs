//! What a key sets, and from which texts.
//!
//! Both forms go through [`Fault::set`], so that a value means the same in a file and in a word.

use std::{str::FromStr, time::Duration};

use super::{
    DiskFull, DiskQuota, DiskReadonly, Fault, FaultKind, FileDelay, FileError, NetLoss,
    NetPartition, Share, SyscallDelay, SyscallError, SyscallReturn, disk::parse_disk, keys::Kind,
    names::parse_flag, quantity::parse_duration, schedule::count, violation::BadValue,
    wording::quoted,
};

impl Fault {
    /// Sets one key from its text; a list gets one more item. Unknown keys are the caller's mistake
    /// and are ignored.
    ///
    /// When the value is bad, the key gets one that breaks no rule, so that what else is wrong can
    /// be told without repeating this.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<(), BadValue> {
        if let FaultKind::DiskLimit(fault) = &mut self.kind
            && fault.set(key, text)?
        {
            return Ok(());
        }
        if self.kind.set_clock(key, text)? {
            return Ok(());
        }
        let is_own = match &mut self.kind {
            FaultKind::DiskError(fault) => fault.set(key, text)?,
            FaultKind::NetLoss(NetLoss { traffic, .. })
            | FaultKind::NetPartition(NetPartition { traffic }) => traffic.set(key, text)?,
            FaultKind::DnsAnswer(fault) => fault.set(key, text)?,
            FaultKind::DnsDelay(fault) => fault.set(key, text)?,
            FaultKind::DnsError(fault) => fault.filter.set(key, text)?,
            FaultKind::MemMmap(fault) => fault.set(key, text)?,
            FaultKind::MemPage(fault) => fault.set(key, text)?,
            FaultKind::MemSlab(fault) => fault.set(key, text)?,
            FaultKind::NetConnect(fault) => fault.set(key, text)?,
            FaultKind::NetLink(fault) => fault.set(key, text)?,
            FaultKind::NetReset(fault) => fault.set(key, text)?,
            FaultKind::SyscallDelay(SyscallDelay { filter, .. })
            | FaultKind::SyscallError(SyscallError { filter, .. })
            | FaultKind::SyscallReturn(SyscallReturn { filter, .. }) => filter.set(key, text)?,
            _ => false,
        };
        if is_own {
            return Ok(());
        }
        let common = &mut self.common;
        match (key, &mut self.kind) {
            (
                "ops",
                FaultKind::FileDelay(FileDelay { ops, .. })
                | FaultKind::FileError(FileError { ops, .. }),
            ) => add(ops, text)?,
            (
                "ops",
                FaultKind::SyscallDelay(SyscallDelay { ops, .. })
                | FaultKind::SyscallError(SyscallError { ops, .. })
                | FaultKind::SyscallReturn(SyscallReturn { ops, .. }),
            ) => add(ops, text)?,
            (
                "delay",
                FaultKind::FileDelay(FileDelay { delay, .. })
                | FaultKind::SyscallDelay(SyscallDelay { delay, .. }),
            ) => *delay = parse_duration(text)?,
            ("value", FaultKind::SyscallReturn(fault)) => fault.value = parse_value(text)?,
            ("errno", FaultKind::FileError(fault)) => fault.errno = text.parse()?,
            ("errno", FaultKind::SyscallError(fault)) => fault.errno = text.parse()?,
            (
                "path",
                FaultKind::FileDelay(FileDelay { path, .. })
                | FaultKind::FileError(FileError { path, .. }),
            ) => *path = Some(text.parse()?),
            (
                "includeExec",
                FaultKind::FileDelay(FileDelay { include_exec, .. })
                | FaultKind::FileError(FileError { include_exec, .. }),
            ) => *include_exec = parse_flag(text)?,
            ("share", FaultKind::NetLoss(fault)) => fault.share = text.parse()?,
            ("quota", FaultKind::PressureCpu(fault)) => fault.quota = text.parse()?,
            ("direction", FaultKind::NetDown(fault)) => fault.direction = text.parse()?,
            ("visible", FaultKind::NetDown(fault)) => fault.visible = parse_flag(text)?,
            (
                "path",
                FaultKind::DiskFull(DiskFull { path, .. })
                | FaultKind::DiskReadonly(DiskReadonly { path })
                | FaultKind::DiskQuota(DiskQuota { path, .. }),
            ) => *path = parse_disk(text)?,
            (
                "bytes",
                FaultKind::DiskFull(DiskFull { bytes, .. })
                | FaultKind::DiskQuota(DiskQuota { bytes, .. }),
            ) => *bytes = Some(text.parse()?),
            ("error", FaultKind::DnsError(fault)) => fault.error = text.parse()?,
            ("probability", _) => {
                common.probability = Some(Share::ALL);
                common.probability = Some(text.parse()?);
            }
            ("when", _) => common.when = Some(text.parse()?),
            ("scope", _) => common.scope = text.parse()?,
            ("times", _) => common.times = Some(parse_count(text)?),
            ("maxRate", _) => common.max_rate = Some(text.parse()?),
            ("replay", _) => common.replay = Some(text.parse()?),
            ("comm", _) => common.comm = Some(text.parse()?),
            ("uid", _) => common.uid = Some(parse_uid(text)?),
            ("thread", _) => common.thread = Some(text.parse()?),
            ("exclude", _) => {
                let exclude = text.parse()?;
                if common.exclude.contains(&exclude) {
                    let problem = format!("{} is named twice", quoted(text));
                    return Err(BadValue::new(problem, "name it once"));
                }
                common.exclude.push(exclude);
            }
            ("seed", _) => common.seed = Some(parse_count(text)?),
            ("shadow", _) => common.shadow = parse_flag(text)?,
            ("stack", _) => common.stack = parse_flag(text)?,
            ("mechanism", _) => common.mechanism = Some(text.parse()?),
            ("after", _) => common.after = Some(parse_duration(text)?),
            ("duration", _) => {
                common.duration = Some(Duration::from_secs(1));
                common.duration = Some(parse_duration(text)?);
            }
            ("pulse", _) => common.pulse = Some(text.parse()?),
            _ => {}
        }
        Ok(())
    }

    /// Gives a required field that is missing or bad a value that breaks no rule.
    pub(super) fn fill(&mut self, kind: &Kind, field: &str) {
        if let Some(key) = kind.required.iter().find(|key| key.name == field) {
            // The example is good, as a test holds; an operation that is there already may stay.
            drop(self.set(field, key.example.trim_matches(['[', ']'])));
        }
    }
}

/// Adds an item that is not there yet.
pub(super) fn add<T: FromStr<Err = BadValue> + PartialEq>(
    ops: &mut Vec<T>,
    text: &str,
) -> Result<(), BadValue> {
    let op = text.parse()?;
    if ops.contains(&op) {
        let problem = format!("{} is named twice", quoted(text));
        return Err(BadValue::new(problem, "name it once"));
    }
    ops.push(op);
    Ok(())
}

/// What is bad gets `instead`: it was said, and is no reason to say that it is missing.
pub(super) fn put<T>(
    field: &mut Option<T>,
    said: Result<T, BadValue>,
    instead: T,
) -> Result<(), BadValue> {
    *field = Some(instead);
    *field = Some(said?);
    Ok(())
}

/// A whole number that fits.
pub(super) fn parse_count(text: &str) -> Result<u64, BadValue> {
    count(text).filter(|_| !text.is_empty()).ok_or_else(|| {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let problem = format!("{} is too large a number", quoted(text));
            return BadValue::new(problem, format!("say at most {}", u64::MAX));
        }
        // Each key has bounds of its own.
        let problem = format!("{} is not a whole number", quoted(text));
        BadValue::new(problem, "say one in digits, such as 3")
    })
}

/// What a system call is to return. Its callers take a negative one for an errno.
fn parse_value(text: &str) -> Result<u32, BadValue> {
    let say =
        |remedy: String| BadValue::new(format!("{} is not such a value", quoted(text)), remedy);
    if text.strip_prefix('-').and_then(count).is_some() {
        return Err(say(
            "say syscall.error with the name of an errno for a call that fails".to_owned(),
        ));
    }
    count(text)
        .filter(|_| !text.is_empty())
        .and_then(|value| u32::try_from(value).ok())
        .filter(|value| *value <= SyscallReturn::MAX)
        .ok_or_else(|| {
            say(format!(
                "say a whole number from 0 to {}",
                SyscallReturn::MAX
            ))
        })
}

/// The id of a user: the highest number is nobody's.
fn parse_uid(text: &str) -> Result<u32, BadValue> {
    parse_count(text)
        .ok()
        .and_then(|uid| u32::try_from(uid).ok())
        .filter(|uid| *uid != u32::MAX)
        .ok_or_else(|| {
            BadValue::new(
                format!("{} is not the id of a user", quoted(text)),
                format!("say a number from 0 to {}, as `id -u` prints", u32::MAX - 1),
            )
        })
}
