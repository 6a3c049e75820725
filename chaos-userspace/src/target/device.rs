//! Block devices of this machine, by their numbers.

use std::{
    fs,
    fs::File,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use chaos_common::disk::device_number;
use nix::sys::stat::{major, minor};

use crate::experiment::disk_error::numbers;

/// Where the kernel keeps all of its block devices by their numbers.
pub(crate) const BLOCK_DEVICES: &str = "/sys/dev/block";

/// The block device that a path is, or is on: its major and its minor number.
///
/// # Errors
/// Why there is none, with what would help.
pub(crate) fn of_path(path: &str) -> Result<(u64, u64), String> {
    let meta = fs::metadata(path)
        .map_err(|error| format!("{path}: {error}: name a block device, or a file on one"))?;
    let kind = meta.file_type();
    if kind.is_char_device() {
        return Err(format!("{path} is a character device: name a block device"));
    }
    let number = if kind.is_block_device() {
        meta.rdev()
    } else {
        meta.dev()
    };
    if major(number) == 0 {
        return Err(format!(
            "{path} is on no block device that the kernel names (tmpfs, overlay, btrfs, a network \
             file system): name the disk itself, such as /dev/sda (`findmnt -T {path}` may know it)"
        ));
    }
    Ok((major(number), minor(number)))
}

/// The block device that a path is, or is on, or that has these numbers, as in `8:16`: its number in
/// the kernel.
///
/// # Errors
/// Why there is none, with what would help.
pub(crate) fn find(text: &str) -> Result<u32, String> {
    let (major, minor) = match numbers(text) {
        Some((major, minor)) => (major.into(), minor.into()),
        None => of_path(text)?,
    };
    if !Path::new(BLOCK_DEVICES)
        .join(format!("{major}:{minor}"))
        .exists()
    {
        return Err(format!(
            "this machine has no block device {major}:{minor} (`lsblk` shows those that it has)"
        ));
    }
    let number = |part: u64| u32::try_from(part).map_err(|error| format!("{text}: {error}"));
    Ok(device_number(number(major)?, number(minor)?))
}

/// Opens some device that can be asked to flush its cache without that anybody would notice: one
/// without a cache, if there is one. `None` where there is no device at all.
pub(crate) fn to_flush() -> Option<(File, u32)> {
    let disks = fs::read_dir("/sys/block").ok()?.flatten();
    let mut disks: Vec<_> = disks
        .map(|disk| disk.path())
        // What turns to be looked at is left alone.
        .filter(|disk| says(disk, "removable") == "0")
        .collect();
    disks.sort_by_key(|disk| {
        (
            says(disk, "queue/write_cache") != "write through",
            disk.clone(),
        )
    });
    disks.iter().find_map(|disk| {
        let number = find(&says(disk, "dev")).ok()?;
        let event = says(disk, "uevent");
        let name = event
            .lines()
            .find_map(|line| line.strip_prefix("DEVNAME="))?;
        Some((File::open(Path::new("/dev").join(name)).ok()?, number))
    })
}

/// What the kernel says of a disk in a file; empty if it says nothing.
fn says(disk: &Path, file: &str) -> String {
    let text = fs::read_to_string(disk.join(file)).unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_no_disk_says_what_to_name() {
        for (path, said) in [
            ("/proc", "name the disk itself"),
            ("/dev/null", "character device"),
            ("/nowhere/at/all", "name a block device"),
            ("4095:1048575", "`lsblk` shows"),
        ] {
            let refused = find(path).unwrap_err();
            assert!(refused.contains(said), "{refused}");
        }
    }
}
