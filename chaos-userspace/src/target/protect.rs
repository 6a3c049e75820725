//! What kchaos never hits, whoever asks for it.

use std::fs;

use super::{Cgroup, CgroupTree, Process, Stat, TargetError};

/// What keeps a node running, by the names of the processes, which the kernel cuts at 15 bytes.
const DAEMONS: [&str; 7] = [
    "kubelet",
    "containerd",
    "crio",
    "dockerd",
    "kchaos-agent",
    "kchaos-schedule",
    SSHD,
];

/// Only the one that listens: those of sessions have the same name.
const SSHD: &str = "sshd";

/// Refuses a cgroup that holds the whole machine, the first process, or kchaos itself.
pub(super) fn cgroup(tree: &CgroupTree, cgroup: &Cgroup) -> Result<(), TargetError> {
    if cgroup.level() == 0 {
        return Err(TargetError::Bad(
            "the root cgroup holds the whole machine: name one below it".to_owned(),
        ));
    }
    for (pid, who) in [("self", "kchaos itself"), ("1", "process 1")] {
        let Some(theirs) = tree.of(pid) else { continue };
        if below(&theirs, cgroup.path()) {
            return Err(TargetError::Bad(format!(
                "cgroup {} holds {who} (in {theirs}): kchaos never hits that; name a cgroup that \
                 does not hold it, or use `kchaos run`, which makes one",
                cgroup.path()
            )));
        }
    }
    for (pid, name) in daemons() {
        let Some(theirs) = tree.of(&pid.to_string()) else {
            continue;
        };
        if below(&theirs, cgroup.path()) {
            return Err(TargetError::Bad(format!(
                "cgroup {} holds {name} (pid {pid}, in {theirs}), which keeps this node running: \
                 kchaos never hits that; name a cgroup that does not hold it",
                cgroup.path()
            )));
        }
    }
    Ok(())
}

/// The daemons that run now.
fn daemons() -> Vec<(u32, String)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let stat = Stat::parse(&text)?;
            is_daemon(stat.name, stat.parent).then(|| (pid, stat.name.to_owned()))
        })
        .collect()
}

fn is_daemon(name: &str, parent: u32) -> bool {
    DAEMONS.contains(&name) && (name != SSHD || parent == 1)
}

/// Refuses the first process, kchaos itself, what keeps the node running, and threads of the kernel.
pub(super) fn process(process: &Process) -> Result<(), TargetError> {
    let who = if process.pid() == 1 {
        "process 1"
    } else if process.pid() == std::process::id() {
        "kchaos itself"
    } else if process.is_kernel() {
        "a thread of the kernel"
    } else if is_daemon(process.name(), process.parent()) {
        "what keeps this node running"
    } else {
        return Ok(());
    };
    Err(TargetError::Bad(format!(
        "pid {} is {who}: kchaos never hits that",
        process.pid()
    )))
}

/// Whether a path of the tree is another one or lies below it.
pub(super) fn below(path: &str, ancestor: &str) -> bool {
    let ancestor = ancestor.trim_end_matches('/');
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::{below, is_daemon};

    #[test]
    fn the_sshd_of_a_session_is_no_daemon() {
        assert!(is_daemon("sshd", 1));
        assert!(!is_daemon("sshd", 700));
        assert!(is_daemon("kubelet", 700));
        assert!(!is_daemon("kubelet2", 1));
    }

    #[test]
    fn a_longer_name_is_not_below() {
        assert!(below("/a/b", "/a"));
        assert!(below("/a", "/a/"));
        assert!(!below("/ab", "/a"));
        assert!(!below("/", "/a"));
    }
}
