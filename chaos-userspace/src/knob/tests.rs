use std::{fs, path::Path};

use super::*;
use crate::{boot, state::Owner};

/// A folder that looks like a tree of cgroups.
struct Machine {
    folder: tempfile::TempDir,
    tree: CgroupTree,
    journal: Journal,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mount = folder.path().join("cgroup");
        fs::create_dir_all(mount.join("a")).unwrap();
        fs::write(mount.join("a/cgroup.procs"), "").unwrap();
        fs::write(mount.join("a/cpu.max"), "max 100000\n").unwrap();
        Self {
            tree: CgroupTree::at(mount),
            journal: Journal::at(folder.path().join("journal")),
            folder,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("cgroup/a/cpu.max")
    }

    fn holds(&self) -> Limit {
        limit(&fs::read_to_string(self.file()).unwrap())
    }

    fn change(&self, id: u64, wanted: &str) -> Change {
        let owner = Owner::this();
        Change {
            id,
            owner_pid: owner.pid,
            owner_start: owner.start,
            boot_id: boot::id(),
            deadline_ns: u64::MAX,
            cgroup: "/a".to_owned(),
            cgroup_id: self.tree.open("/a").unwrap().id(),
            file: CPU_MAX.to_owned(),
            original: String::new(),
            wanted: wanted.to_owned(),
            device: String::new(),
        }
    }

    fn begin(&self, id: u64, wanted: &str) -> Result<(), KnobError> {
        begin(&self.journal, &self.tree, self.change(id, wanted))
    }

    fn undo(&self, id: u64) -> Undone {
        undo(&self.journal, &self.tree, id, PATIENCE).unwrap()
    }
}

fn limit(text: &str) -> Limit {
    Limit::parse(CPU_MAX, text).unwrap()
}

const QUARTER: &str = "25000 100000";
const HALF: &str = "50000 100000";

#[test]
fn the_smaller_wins_and_ending_one_leaves_the_other() {
    for (first, second) in [(1, 2), (2, 1)] {
        let machine = Machine::new();
        machine.begin(1, QUARTER).unwrap();
        assert_eq!(machine.holds(), limit(QUARTER));
        machine.begin(2, HALF).unwrap();
        assert_eq!(machine.holds(), limit(QUARTER));
        assert!(matches!(machine.undo(first), Undone::Restored(_)));
        let stays = if first == 1 { HALF } else { QUARTER };
        assert_eq!(machine.holds(), limit(stays));
        assert_eq!(machine.undo(first), Undone::Already);
        assert_eq!(machine.holds(), limit(stays));
        assert_eq!(
            machine.undo(second),
            Undone::Restored("max 100000".to_owned())
        );
        assert_eq!(machine.holds(), limit("max 100000"));
        assert!(!machine.journal.path().exists());
    }
}

#[test]
fn what_somebody_else_has_written_is_left() {
    let machine = Machine::new();
    machine.begin(1, QUARTER).unwrap();
    fs::write(machine.file(), "70000 100000\n").unwrap();
    let refused = machine.begin(2, HALF).unwrap_err().to_string();
    assert!(refused.contains("'70000 100000'"), "{refused}");
    assert_eq!(machine.undo(1), Undone::Foreign("70000 100000".to_owned()));
    assert_eq!(machine.holds(), limit("70000 100000"));
    assert!(!machine.journal.path().exists());
}

#[test]
fn a_change_that_was_written_down_and_not_made_is_undone_too() {
    let machine = Machine::new();
    let mut change = machine.change(1, QUARTER);
    change.original = "max 100000".to_owned();
    machine
        .journal
        .lock(PATIENCE)
        .unwrap()
        .begin(change)
        .unwrap();
    assert_eq!(machine.undo(1), Undone::Restored("max 100000".to_owned()));
    assert_eq!(machine.holds(), limit("max 100000"));
}

#[test]
fn another_cgroup_of_the_same_name_is_not_touched() {
    let machine = Machine::new();
    machine.begin(1, QUARTER).unwrap();
    let folder = machine.folder.path().join("cgroup/a");
    fs::rename(&folder, folder.with_file_name("old")).unwrap();
    assert_eq!(machine.undo(1), Undone::Gone);
    tree_again(&folder);
    assert_eq!(machine.holds(), limit(HALF));
    machine.begin(2, QUARTER).unwrap();
    fs::rename(&folder, folder.with_file_name("older")).unwrap();
    tree_again(&folder);
    assert_eq!(machine.undo(2), Undone::Gone);
    assert_eq!(machine.holds(), limit(HALF));
}

fn tree_again(folder: &Path) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("cgroup.procs"), "").unwrap();
    fs::write(folder.join(CPU_MAX), HALF).unwrap();
}

#[test]
fn a_limit_that_is_as_tight_and_a_missing_controller_are_refused() {
    let machine = Machine::new();
    fs::write(machine.file(), "10000 100000\n").unwrap();
    let refused = machine.begin(1, QUARTER).unwrap_err().to_string();
    assert!(refused.contains("say a smaller quota"), "{refused}");
    assert!(!machine.journal.path().exists());
    fs::remove_file(machine.file()).unwrap();
    let cgroup = machine.tree.open("/a").unwrap();
    let refused = check(&machine.tree, &cgroup, CPU_MAX)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("cpu controller is not in"), "{refused}");
    fs::write(
        machine.folder.path().join("cgroup/cgroup.controllers"),
        "io cpu\n",
    )
    .unwrap();
    let refused = check(&machine.tree, &cgroup, CPU_MAX)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("echo +cpu >"), "{refused}");
}
