//! Which controllers a cgroup has: those that its parent hands on to it.

use std::fs;

use super::CgroupTree;

impl CgroupTree {
    /// Why a cgroup, by its path, has not this controller, and what would help; `None` if it has.
    pub(crate) fn lacks(&self, cgroup: &str, controller: &str) -> Option<String> {
        let has = |cgroup: &str| {
            let names = fs::read_to_string(self.folder(cgroup).join("cgroup.controllers"));
            names.is_ok_and(|names| names.split_whitespace().any(|name| name == controller))
        };
        if has(cgroup) {
            return None;
        }
        if !has("/") {
            return Some(format!(
                "the {controller} controller is not in the cgroup v2 tree of this machine: it is in \
                 use by cgroup v1, or the kernel has none"
            ));
        }
        let (parent, _) = cgroup.rsplit_once('/').unwrap_or(("", ""));
        // Only the root may have both processes and cgroups with controllers (cgroups(7)).
        let processes = fs::read_to_string(self.folder(parent).join("cgroup.procs"));
        if !parent.is_empty() && processes.is_ok_and(|processes| !processes.trim().is_empty()) {
            return Some(format!(
                "its parent {parent} does not hand the {controller} controller on, and can't while \
                 processes are in it, as kchaos is in that of a command that it runs: `kchaos inject` on a \
                 cgroup whose parent does needs no such thing"
            ));
        }
        let switch = self.folder(parent).join("cgroup.subtree_control");
        Some(format!(
            "its parent does not hand the {controller} controller on: `echo +{controller} >{}` does \
             that, for all cgroups below it, where no process is in the parent itself (kchaos never \
             changes that)",
            switch.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_handed_on_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let tree = CgroupTree::at(folder.path().to_path_buf());
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        for (cgroup, names) in [("", "cpu io memory\n"), ("a", "io memory\n"), ("a/b", "\n")] {
            let file = folder.path().join(cgroup).join("cgroup.controllers");
            fs::write(file, names).unwrap();
        }
        assert_eq!(tree.lacks("/a", "io"), None);
        let said = tree.lacks("/a/b", "io").unwrap();
        let switch = folder.path().join("a/cgroup.subtree_control");
        let remedy = format!("echo +io >{}", switch.display());
        assert!(said.contains(&remedy), "{said}");
        fs::write(folder.path().join("a/cgroup.procs"), "7\n").unwrap();
        let said = tree.lacks("/a/b", "io").unwrap();
        assert!(said.contains("can't while processes are in it"), "{said}");
        assert!(!said.contains("echo"), "{said}");
        let said = tree.lacks("/a", "cpu").unwrap();
        assert!(said.contains("echo +cpu >"), "{said}");
        // Not the beginning of another one's name.
        let said = tree.lacks("/a", "mem").unwrap();
        assert!(said.contains("is not in the cgroup v2 tree"), "{said}");
    }
}
