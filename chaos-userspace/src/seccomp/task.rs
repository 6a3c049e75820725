//! Who makes a call, as /proc tells it.

use std::{cell::OnceCell, fs};

use chaos_common::{CallFacts, CallFilter, Filtered, Narrowing, PathFilter, limits::COMM_BYTES};
use libc::{seccomp_data, seccomp_notif};

use super::{facts, notify::Listener};
use crate::target::{CgroupTree, Stat};

/// A name as the kernel keeps it, filled up with zeros.
pub(super) type Comm = [u64; COMM_BYTES / 8];

/// A thread that waits for the answer to a call. What is read of it is read when it is first asked
/// for, and counts only if it still waits afterwards.
pub(super) struct Task<'a> {
    listener: &'a Listener,
    id: u64,
    pub(super) tid: u32,
    data: seccomp_data,
    facts: OnceCell<Option<CallFacts>>,
    path: OnceCell<Option<Vec<u8>>>,
    who: OnceCell<Option<Who>>,
    start: OnceCell<Option<u64>>,
}

#[derive(Clone, Copy, Debug)]
struct Who {
    pid: u32,
    uid: u32,
    process: Comm,
    thread: Comm,
}

/// What a sample tells of a task.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Portrait {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) comm: Comm,
    pub(super) cgroup: u64,
}

impl<'a> Task<'a> {
    pub(super) fn new(listener: &'a Listener, call: &seccomp_notif) -> Self {
        Self {
            listener,
            id: call.id,
            tid: call.pid,
            data: call.data,
            facts: OnceCell::new(),
            path: OnceCell::new(),
            who: OnceCell::new(),
            start: OnceCell::new(),
        }
    }

    /// Reads what will be asked for.
    pub(super) fn read(&self, who: bool, start: bool) {
        if who {
            self.who();
        }
        if start {
            self.start();
        }
    }

    /// Whether a rule wants this task.
    pub(super) fn filter(&self, wanted: &Narrowing) -> Filtered {
        let Some(who) = self.who() else {
            return Filtered::Unknown;
        };
        let is_wanted = wanted.comm.matches(who.process)
            && wanted.thread.matches(who.thread)
            && (wanted.has_uid == 0 || wanted.uid == who.uid);
        if is_wanted {
            Filtered::In
        } else {
            Filtered::Out
        }
    }

    /// Whether a rule wants its call.
    pub(super) fn filter_call(&self, wanted: &CallFilter) -> Filtered {
        let facts = self.facts.get_or_init(|| {
            let facts = facts::learn(self.tid, &self.data);
            self.listener.is_waiting(self.id).then_some(facts)
        });
        facts.map_or(Filtered::Unknown, |facts| wanted.filter(&facts))
    }

    /// Whether a rule wants the file of its call.
    pub(super) fn filter_path(&self, wanted: &PathFilter) -> Filtered {
        let path = self.path.get_or_init(|| {
            let path = facts::path(self.tid, &self.data)?;
            self.listener.is_waiting(self.id).then_some(path)
        });
        match path {
            Some(path) if !path.is_empty() && wanted.matches(path) => Filtered::In,
            Some(_) => Filtered::Out,
            None => Filtered::Unknown,
        }
    }

    /// The thread's start in ticks since boot.
    pub(super) fn start(&self) -> Option<u64> {
        *self.start.get_or_init(|| {
            let text = fs::read_to_string(format!("/proc/{}/stat", self.tid)).ok()?;
            let start = Stat::parse(&text)?.start_ticks;
            self.listener.is_waiting(self.id).then_some(start)
        })
    }

    /// For a sample: what can't be read stays empty.
    pub(super) fn portrait(&self, tree: Option<&CgroupTree>) -> Portrait {
        let who = self.who();
        let cgroup = tree.and_then(|tree| {
            let path = tree.of(&self.tid.to_string())?;
            tree.open(&path).ok().map(|cgroup| cgroup.id())
        });
        Portrait {
            pid: who.map_or(0, |who| who.pid),
            tid: self.tid,
            comm: who.map_or([0; 2], |who| who.thread),
            cgroup: cgroup.unwrap_or(0),
        }
    }

    fn who(&self) -> Option<Who> {
        *self.who.get_or_init(|| {
            let status = fs::read_to_string(format!("/proc/{}/status", self.tid)).ok()?;
            let (pid, uid) = pid_and_uid(&status)?;
            let thread = comm(self.tid)?;
            let process = if pid == self.tid { thread } else { comm(pid)? };
            self.listener.is_waiting(self.id).then_some(Who {
                pid,
                uid,
                process,
                thread,
            })
        })
    }
}

/// The process, and its real user.
fn pid_and_uid(status: &str) -> Option<(u32, u32)> {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    Some((field("Tgid:")?, field("Uid:")?))
}

fn comm(tid: u32) -> Option<Comm> {
    let name = fs::read(format!("/proc/{tid}/comm")).ok()?;
    Some(packed(name.strip_suffix(b"\n").unwrap_or(&name)))
}

fn packed(name: &[u8]) -> Comm {
    let mut bytes = [0; COMM_BYTES];
    let len = name.len().min(COMM_BYTES - 1);
    bytes[..len].copy_from_slice(&name[..len]);
    let mut words = [0; COMM_BYTES / 8];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use chaos_common::CommFilter;

    use super::*;

    #[test]
    fn a_status_tells_process_and_user() {
        let status = "Name:\tTgid:\nUmask:\t0022\nTgid:\t17\nPid:\t18\nUid:\t33\t0\t0\t0\n";
        assert_eq!(pid_and_uid(status), Some((17, 33)));
        assert_eq!(pid_and_uid("Tgid:\t17\n"), None);
    }

    #[test]
    fn a_name_is_packed_as_filters_want_it() {
        for name in ["a", "nginx", "12345678", "123456789012345"] {
            let filter = CommFilter::exactly(name.as_bytes()).unwrap();
            assert!(filter.matches(packed(name.as_bytes())), "{name}");
            assert!(!filter.matches(packed(b"other")), "{name}");
        }
    }
}
