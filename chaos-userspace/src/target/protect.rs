//! What kchaos never hits, whoever asks for it.

use super::{Cgroup, CgroupTree, Process, TargetError};

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
    Ok(())
}

/// Refuses the first process, kchaos itself and threads of the kernel.
pub(super) fn process(process: &Process) -> Result<(), TargetError> {
    let who = if process.pid() == 1 {
        "process 1"
    } else if process.pid() == std::process::id() {
        "kchaos itself"
    } else if process.is_kernel() {
        "a thread of the kernel"
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
    use super::below;

    #[test]
    fn a_longer_name_is_not_below() {
        assert!(below("/a/b", "/a"));
        assert!(below("/a", "/a/"));
        assert!(!below("/ab", "/a"));
        assert!(!below("/", "/a"));
    }
}
