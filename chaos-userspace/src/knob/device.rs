//! Which disk a path is on.

use std::{fs, path::Path};

use crate::target::device::{BLOCK_DEVICES, of_path};

/// The whole disk that a path is, or is on, as `io.max` names it.
///
/// # Errors
/// Why there is none, with what would help.
pub(super) fn find(path: &str) -> Result<String, String> {
    let (major, minor) = of_path(path)?;
    let number = format!("{major}:{minor}");
    whole(Path::new(BLOCK_DEVICES), &number)
        .ok_or_else(|| format!("{path} is {number}, and the kernel knows no such disk"))
}

/// The disk of a partition; a disk is its own.
fn whole(devices: &Path, number: &str) -> Option<String> {
    // A link to the folder of the device, which lies in its disk's if it is a partition.
    let folder = fs::canonicalize(devices.join(number)).ok()?;
    let disk = if folder.join("partition").exists() {
        folder.parent()?
    } else {
        &folder
    };
    Some(fs::read_to_string(disk.join("dev")).ok()?.trim().to_owned())
}

/// Every disk that the kernel names.
pub(crate) fn all() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok())
        .map(|number| number.trim().to_owned())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_partition_is_its_disk() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("devices/sda");
        fs::create_dir_all(disk.join("sda1")).unwrap();
        fs::write(disk.join("dev"), "8:0\n").unwrap();
        fs::write(disk.join("sda1/dev"), "8:1\n").unwrap();
        fs::write(disk.join("sda1/partition"), "1\n").unwrap();
        symlink(&disk, folder.path().join("8:0")).unwrap();
        symlink(disk.join("sda1"), folder.path().join("8:1")).unwrap();
        for number in ["8:0", "8:1"] {
            assert_eq!(whole(folder.path(), number).as_deref(), Some("8:0"));
        }
        assert_eq!(whole(folder.path(), "8:2"), None);
    }
}
