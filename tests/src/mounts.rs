//! File systems of the tests' own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A mounted file system; unmounted when it is dropped.
#[derive(Debug)]
pub struct Mounted {
    folder: PathBuf,
    /// Holds what lies under it.
    _base: tempfile::TempDir,
}

impl Mounted {
    /// A tmpfs.
    pub fn tmpfs() -> Self {
        Self::tmpfs_with("rw")
    }

    /// A tmpfs, with options of mount(8).
    pub fn tmpfs_with(options: &str) -> Self {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("tmpfs");
        mount(&["-t", "tmpfs", "-o", options, "none"], &folder);
        Self {
            folder,
            _base: base,
        }
    }

    /// An ext4 on a loop device.
    pub fn ext4() -> Self {
        let base = tempfile::tempdir().unwrap();
        let image = base.path().join("image");
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        let folder = base.path().join("ext4");
        // Not `-o loop`, by which mount(8) has the device open for writing meanwhile: kernels without
        // BLK_DEV_WRITE_MOUNTED do not mount it then.
        let mut losetup = Command::new("/sbin/losetup");
        let made = losetup.args(["--find", "--show"]).arg(&image).output();
        let device = String::from_utf8(made.unwrap().stdout).unwrap();
        mount(&[device.trim()], &folder);
        // It stays until the file system goes.
        run(Command::new("/sbin/losetup").args(["--detach", device.trim()]));
        Self {
            folder,
            _base: base,
        }
    }

    /// An overlay on a tmpfs, with files in its lower layer.
    pub fn overlay(lower_files: &[&str]) -> Self {
        let base = tempfile::tempdir().unwrap();
        for name in ["lower", "upper", "work"] {
            fs::create_dir(base.path().join(name)).unwrap();
        }
        for name in lower_files {
            fs::write(base.path().join("lower").join(name), "lower\n").unwrap();
        }
        let at = |name: &str| base.path().join(name).display().to_string();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            at("lower"),
            at("upper"),
            at("work")
        );
        let folder = base.path().join("overlay");
        mount(&["-t", "overlay", "none", "-o", &options], &folder);
        Self {
            folder,
            _base: base,
        }
    }

    /// Shows a directory of the machine at the same place in here, with links to some of its own
    /// directories beside it, as merged-usr systems have them. Goes with this file system.
    pub fn bind(&self, directory: &str, links: &[&str]) {
        let name = directory.trim_start_matches('/');
        mount(&["--bind", directory], &self.folder.join(name));
        for link in links {
            std::os::unix::fs::symlink(format!("{name}/{link}"), self.folder.join(link)).unwrap();
        }
    }

    /// From now on nothing on it can be changed.
    pub fn make_read_only(&self) {
        run(Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(&self.folder));
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(&self.folder)
            .status()
            .ok();
    }
}

fn mount(arguments: &[&str], folder: &Path) {
    fs::create_dir(folder).unwrap();
    run(Command::new("mount").args(arguments).arg(folder));
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
