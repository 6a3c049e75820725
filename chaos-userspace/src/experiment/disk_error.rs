//! `disk.error`: its keys, and its rules.

use std::{fmt, str::FromStr};

use super::{
    DiskError, Errno,
    memory::check_twice,
    paths::check_device,
    schedule::count,
    set::add,
    violation::BadValue,
    wording::{guess, quoted},
};

/// What a disk is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Bytes are read.
    Read,
    /// Bytes are written.
    Write,
    /// What is in its cache is written out.
    Flush,
    /// Blocks are not needed any more.
    Discard,
}

impl DiskOp {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Flush, Self::Discard];

    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Discard => "discard",
        }
    }

    /// What it is to a program.
    pub(crate) const fn operation(self) -> chaos_common::DiskOp {
        match self {
            Self::Read => chaos_common::DiskOp::Read,
            Self::Write => chaos_common::DiskOp::Write,
            Self::Flush => chaos_common::DiskOp::Flush,
            Self::Discard => chaos_common::DiskOp::Discard,
        }
    }
}

impl fmt::Display for DiskOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DiskOp {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let known = Self::ALL.into_iter().find(|op| op.name() == text);
        known.ok_or_else(|| {
            let remedy = match text {
                "fsync" | "sync" => "say flush, which the disk is asked for then".to_owned(),
                "trim" | "fstrim" => "say discard".to_owned(),
                _ => guess(text, &Self::ALL.map(Self::name)),
            };
            BadValue::new(
                format!("{} is no operation of a disk", quoted(text)),
                remedy,
            )
        })
    }
}

impl DiskError {
    /// Sets a key, if it is one of its own.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "ops" => add(&mut self.ops, text)?,
            "errno" => check_errno(text)?,
            "device" => {
                check_disk_device(text)?;
                self.device = Some(text.to_owned());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What it has to keep, key by key.
    pub(super) fn rules(&self) -> [(&'static str, Result<(), BadValue>); 2] {
        let device = self.device.as_deref().map_or(Ok(()), check_disk_device);
        [("ops", check_twice(&self.ops)), ("device", device)]
    }

    /// What it is about.
    pub(crate) fn operations(&self) -> &[DiskOp] {
        if self.ops.is_empty() {
            &DiskOp::ALL
        } else {
            &self.ops
        }
    }
}

/// The kernel makes this one of whatever a program says.
fn check_errno(text: &str) -> Result<(), BadValue> {
    let errno: Errno = text.parse()?;
    if errno == Errno::EIO {
        return Ok(());
    }
    Err(BadValue::new(
        format!("{} is not what a disk's request fails with", quoted(text)),
        "say EIO; file.error and syscall.error can say others",
    ))
}

/// A device by its numbers, as in `8:16`: what the kernel's numbers have room for.
pub(crate) fn numbers(text: &str) -> Option<(u32, u32)> {
    const MAJOR: u32 = 1 << 12;
    const MINOR: u32 = 1 << 20;
    let (major, minor) = text.split_once(':')?;
    let number = |text, bound| {
        let number = u32::try_from(count(text)?).ok()?;
        (number < bound).then_some(number)
    };
    Some((number(major, MAJOR)?, number(minor, MINOR)?))
}

fn check_disk_device(text: &str) -> Result<(), BadValue> {
    if text.starts_with('/') {
        return check_device(text);
    }
    match numbers(text) {
        Some(_) => Ok(()),
        None => Err(BadValue::new(
            format!("{} is no device", quoted(text)),
            "say its path, such as /dev/sdb, or its numbers, such as 8:16",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::word;

    #[test]
    fn each_operation_has_a_name_and_a_number_of_its_own() {
        for (index, op) in DiskOp::ALL.into_iter().enumerate() {
            assert_eq!(op.name().parse(), Ok(op));
            assert_eq!(op.operation() as usize, index);
            assert_eq!(op.operation(), chaos_common::DiskOp::ALL[index]);
        }
    }

    #[test]
    fn words_of_disks_that_fail() {
        for good in [
            "disk.error=EIO",
            "disk.error:read+write=EIO@5%,device=/dev/sdb,when=3",
            "disk.error:flush=EIO,device=8:16,times=1",
            "disk.error:discard=EIO,device=/var/lib,exclude=/a/b,shadow=true",
        ] {
            assert_eq!(word::format(&word::parse(good).unwrap()), good);
        }
        for (bad, message) in [
            (
                "disk.error:raed=EIO",
                "ops: 'raed' is no operation of a disk; did you mean read?",
            ),
            (
                "disk.error:fsync=EIO",
                "ops: 'fsync' is no operation of a disk; say flush, which the disk is asked for then",
            ),
            (
                "disk.error:read+read=EIO",
                "ops: 'read' is named twice; name it once",
            ),
            (
                "disk.error=ENOSPC",
                "errno: 'ENOSPC' is not what a disk's request fails with; \
                 say EIO; file.error and syscall.error can say others",
            ),
            (
                "disk.error:write",
                "errno: is missing; write it as in disk.error:write=EIO",
            ),
            (
                "disk.error=EIO,device=sdb",
                "device: 'sdb' is no device; \
                 say its path, such as /dev/sdb, or its numbers, such as 8:16",
            ),
            (
                "disk.error=EIO,device=8:1048576",
                "device: '8:1048576' is no device; \
                 say its path, such as /dev/sdb, or its numbers, such as 8:16",
            ),
            (
                "disk.error=EIO,comm=postgres",
                "comm: disk.error has none: requests to disks belong to no task; \
                 leave it out, or make the processes in question a target of their own",
            ),
        ] {
            let violations = word::parse(bad).unwrap_err();
            assert_eq!(violations.to_string(), message, "{bad}");
        }
    }
}
