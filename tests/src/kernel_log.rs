//! What the kernel says from some moment on. A panic, an oops and a lockup end the lab's run by
//! themselves; a warning does not.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
};

/// What no kernel says that is well. Crashes of programs (`traps:`, `segfault`) are none of these, and
/// neither is "`VM_FAULT_OOM` leaked out": so a page fault says that finds no page by `mem.page`, and tries
/// again.
const SIGNS: [&str; 9] = [
    "WARNING:",
    "BUG:",
    "kernel BUG",
    "Oops",
    "Call Trace:",
    "blocked for more than",
    "detected stall",
    "self-detected stall",
    "lockup",
];

/// Taints of a kernel that has died, warned, or locked up: Documentation/admin-guide/tainted-kernels.
const TAINTS: u64 = 1 << 7 | 1 << 9 | 1 << 14;

/// The kernel's log from when this was made.
#[derive(Debug)]
pub struct KernelLog {
    records: File,
    taints: u64,
}

impl KernelLog {
    /// From now on.
    pub fn from_now() -> Self {
        let mut records = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .unwrap();
        records.seek(SeekFrom::End(0)).unwrap();
        Self {
            records,
            taints: taints(),
        }
    }

    /// What the kernel said since the last call.
    pub fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        // One record a read(2), and none is longer.
        let mut record = [0; 8192];
        loop {
            match self.records.read(&mut record) {
                Ok(length) => {
                    let record = String::from_utf8_lossy(&record[..length]);
                    lines.push(message(&record).to_owned());
                }
                // The kernel had more to say than it keeps; what is left is read all the same.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => return lines,
                Err(error) => panic!("/dev/kmsg: {error}"),
            }
        }
    }

    /// What the kernel complained of since the last call; the lines that follow a complaint belong to
    /// it.
    pub fn complaints(&mut self) -> Vec<String> {
        let mut found = self.lines();
        let first = found.iter().position(|line| is_complaint(line));
        found.drain(..first.unwrap_or(found.len()));
        let new = taints() & !self.taints;
        if new != 0 && found.is_empty() {
            found.push(format!("the kernel is tainted: {new:#x}"));
        }
        found
    }
}

fn taints() -> u64 {
    let text = fs::read_to_string("/proc/sys/kernel/tainted").unwrap();
    text.trim().parse::<u64>().unwrap() & TAINTS
}

/// A record is `PRIORITY,NUMBER,TIME,FLAGS;MESSAGE`, then lines of its own about devices.
fn message(record: &str) -> &str {
    let line = record.lines().next().unwrap_or_default();
    line.split_once(';').map_or(line, |(_, message)| message)
}

fn is_complaint(line: &str) -> bool {
    SIGNS.iter().any(|sign| line.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_told_from_a_program_that_crashed() {
        for (record, expected) in [
            (
                "4,512,8080,-;WARNING: CPU: 1 PID: 77 at mm/page_alloc.c:1 x+0x1/0x2\n",
                true,
            ),
            (
                "3,513,8081,-;INFO: task sync:9 blocked for more than 120 seconds.\n",
                true,
            ),
            (
                "6,514,8082,-;traps: a[7] general protection fault ip:1 sp:2 error:0\n",
                false,
            ),
            (
                "6,515,8083,-;loop0: detected capacity change from 0 to 9\n SUBSYSTEM=BUG:\n",
                false,
            ),
        ] {
            assert_eq!(is_complaint(message(record)), expected, "{record}");
        }
    }
}
