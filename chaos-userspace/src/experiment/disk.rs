//! `disk.limit`: its keys, and its rules. What the other kinds of disks say a disk by.

use super::{
    ByteRate, DiskLimit, PathFilter,
    paths::check_device,
    set::{parse_count, put},
    violation::BadValue,
    wording::quoted,
};

impl DiskLimit {
    /// Whether the key is one of its own.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "device" => self.device = parse_device(text)?,
            "readBps" => put(&mut self.read_bps, text.parse(), ByteRate::MEBIBYTE)?,
            "writeBps" => put(&mut self.write_bps, text.parse(), ByteRate::MEBIBYTE)?,
            "readIops" => put(&mut self.read_iops, parse_iops(text), 1)?,
            "writeIops" => put(&mut self.write_iops, parse_iops(text), 1)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What it has to keep, key by key.
    pub(super) fn rules(&self) -> [(&'static str, Result<(), BadValue>); 4] {
        [
            ("device", check_device(&self.device)),
            ("readBps", self.check_limits()),
            ("readIops", self.read_iops.map_or(Ok(()), check_iops)),
            ("writeIops", self.write_iops.map_or(Ok(()), check_iops)),
        ]
    }

    fn check_limits(&self) -> Result<(), BadValue> {
        let bytes = self.read_bps.or(self.write_bps);
        if bytes.is_some() || self.read_iops.or(self.write_iops).is_some() {
            return Ok(());
        }
        Err(BadValue::new(
            "is missing, and so are writeBps, readIops and writeIops",
            "say at least one of them",
        ))
    }
}

pub(super) fn parse_device(text: &str) -> Result<String, BadValue> {
    check_device(text).map(|()| text.to_owned())
}

/// What a target takes for a disk.
pub(super) fn parse_disk(text: &str) -> Result<PathFilter, BadValue> {
    let path = text.parse()?;
    check_disk(&path).map(|()| path)
}

/// It stands in a word before everything that has a separator, as a device does.
pub(super) fn check_disk(path: &PathFilter) -> Result<(), BadValue> {
    path.check()?;
    match path.as_str().find([',', '@', '\\']) {
        Some(_) => Err(BadValue::new(
            format!(
                "{} has a comma, an '@' or a backslash in it",
                quoted(path.as_str())
            ),
            "name the directory that it is in",
        )),
        None => Ok(()),
    }
}

fn parse_iops(text: &str) -> Result<u32, BadValue> {
    let count = parse_count(text)?;
    let iops = u32::try_from(count).map_err(|_too_large| out_of_range(count))?;
    check_iops(iops).map(|()| iops)
}

fn check_iops(iops: u32) -> Result<(), BadValue> {
    if (1..=DiskLimit::MAX_IOPS).contains(&iops) {
        Ok(())
    } else {
        Err(out_of_range(iops.into()))
    }
}

fn out_of_range(iops: u64) -> BadValue {
    BadValue::new(
        format!("{iops} is out of range"),
        format!("say from 1 to {} operations a second", DiskLimit::MAX_IOPS),
    )
}

#[cfg(test)]
mod tests {
    use crate::experiment::word;

    #[test]
    fn words_that_limit_nothing_or_wrongly() {
        for good in [
            "disk.limit=/dev/sda,readIops=1",
            "disk.limit=/,writeBps=1536KiB,writeIops=4294967294,after=10s,mechanism=cgroup-knob",
        ] {
            assert_eq!(word::format(&word::parse(good).unwrap()), good);
        }
        for (bad, message) in [
            (
                "disk.limit=/dev/sda",
                "readBps: is missing, and so are writeBps, readIops and writeIops; \
                 say at least one of them",
            ),
            (
                "disk.limit,readBps=1MiB",
                "device: is missing; write it as in disk.limit=/var/lib,writeBps=1MiB",
            ),
            (
                "disk.limit=sda,readBps=1MiB",
                "device: 'sda' is not an absolute path; begin with a slash",
            ),
            (
                "disk.limit=/,readBps=10",
                "readBps: '10' has no unit; say which, such as 10KiB or 10B",
            ),
            (
                "disk.limit=/,writeIops=0",
                "writeIops: 0 is out of range; say from 1 to 4294967294 operations a second",
            ),
            (
                "disk.limit=/,readIops=4294967295",
                "readIops: 4294967295 is out of range; \
                 say from 1 to 4294967294 operations a second",
            ),
            (
                "disk.limit=/@5%,readIops=7",
                "probability: disk.limit has none: it is a limit, and decides about no event; \
                 leave it out",
            ),
        ] {
            let violations = word::parse(bad).unwrap_err();
            assert_eq!(violations.to_string(), message, "{bad}");
        }
    }
}
