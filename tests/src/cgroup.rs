//! Cgroups of the tests' own.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// Where the lab mounts the tree.
pub const MOUNT: &str = "/sys/fs/cgroup";

/// A cgroup; removed with everything that runs in it.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one below the root.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::at(Path::new(MOUNT).join(format!("test-{name}-{}-{number}", std::process::id())))
    }

    /// Makes one below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self::at(self.0.join(name))
    }

    fn at(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// As kchaos names it.
    pub fn path(&self) -> String {
        format!("/{}", self.0.strip_prefix(MOUNT).unwrap().display())
    }

    /// The argument that makes it a target.
    pub fn target(&self) -> String {
        format!("cgroup={}", self.path())
    }

    /// What one of its control files holds.
    pub fn read(&self, file: &str) -> String {
        let text = fs::read_to_string(self.0.join(file)).unwrap();
        text.trim().to_owned()
    }

    /// Writes one of its control files.
    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }

    /// Processor time that it has used so far.
    pub fn cpu_time(&self) -> std::time::Duration {
        let stat = self.read("cpu.stat");
        let used = stat
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        std::time::Duration::from_micros(used.unwrap().parse().unwrap())
    }

    /// A program that starts in it.
    pub fn command(&self, program: &str) -> Command {
        let processes = self.0.join("cgroup.procs");
        let mut command = Command::new(program);
        // SAFETY: opens and writes one file; the test program has no other thread that holds a lock
        // of the allocator for long.
        unsafe {
            command.pre_exec(move || fs::write(&processes, "0"));
        }
        command
    }

    /// A shell script that runs in it, with bash.
    pub fn script(&self, script: &str) -> Command {
        let mut command = self.command("bash");
        command.args(["-c", script]);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::write(self.0.join("cgroup.kill"), "1").ok();
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Cgroups of kchaos that are there now.
pub fn of_kchaos() -> Vec<PathBuf> {
    fn search(folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            if entry.file_name().to_string_lossy().starts_with("kchaos-") {
                found.push(entry.path());
            }
            search(&entry.path(), found);
        }
    }
    let mut found = Vec::new();
    search(Path::new(MOUNT), &mut found);
    found
}
