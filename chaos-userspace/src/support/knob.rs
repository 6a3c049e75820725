//! Tries the control files of cgroups out.

use std::{fs, io, path::Path};

use super::{Capability, Missing};
use crate::{
    knob::{self, Limit},
    node::scratch::ScratchCgroup,
    target::CgroupTree,
};

/// Anything but what a new cgroup has.
const CPU: &str = "50000 100000";
/// The same for one device.
const DISK: &str = "wbps=1048576";

/// Whether a limit can be set on a cgroup directly below the root.
pub(super) fn probe(limit: &Limit) -> Result<(), Missing> {
    let tree = CgroupTree::find().map_err(|error| refuse(error.to_string()))?;
    let name = limit.file();
    let controller = knob::controller(name);
    let root = tree.folder("/");
    let has = |file: &str| {
        let names = fs::read_to_string(root.join(file)).unwrap_or_default();
        names.split_whitespace().any(|found| found == controller)
    };
    if !has("cgroup.controllers") {
        return Err(refuse(format!(
            "the {controller} controller is not in the cgroup v2 tree: it is in use by cgroup v1, \
             or the kernel has none"
        )));
    }
    let switch = root.join("cgroup.subtree_control");
    if !has("cgroup.subtree_control") {
        return Err(refuse(format!(
            "no cgroup has the {controller} controller: `echo +{controller} >{}` hands it on",
            switch.display()
        )));
    }
    let scratch = ScratchCgroup::make_below(&tree, "/", "probe").map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            Missing {
                reason: "not probed: needs the right to make cgroups, which root has".to_owned(),
                capabilities: vec![Capability::DacOverride],
            }
        } else {
            refuse(error.to_string())
        }
    })?;
    let file = scratch.folder().join(name);
    if !file.exists() {
        return Err(refuse(knob::no_file(name)));
    }
    match limit {
        Limit::Cpu(_) => {
            keeps(&file, CPU).map_err(|reason| refuse(format!("{name} of a new cgroup {reason}")))
        }
        Limit::Io(_) => any_disk(&file),
    }
}

/// Why `kchaos run` can't do what needs a controller, though others can: its command's cgroup
/// is made below kchaos' own, which has to hand the controller on.
pub(super) fn not_for_commands(controller: &str) -> Option<String> {
    let tree = CgroupTree::find().ok()?;
    let switch = tree
        .folder(&tree.of("self")?)
        .join("cgroup.subtree_control");
    let names = fs::read_to_string(&switch).unwrap_or_default();
    if names.split_whitespace().any(|found| found == controller) {
        return None;
    }
    Some(format!(
        "{} does not hand the {controller} controller on: for a command take a unit or a cgroup that \
         has it, and `kchaos inject`",
        switch.display()
    ))
}

/// Whether it takes a limit for some disk of this machine: which one is meant is not known here.
fn any_disk(file: &Path) -> Result<(), Missing> {
    let mut last = "this machine has no block device".to_owned();
    for disk in knob::disks() {
        match keeps(file, &format!("{disk} {DISK}")) {
            Ok(()) => return Ok(()),
            Err(reason) => last = format!("io.max of a new cgroup, for device {disk}, {reason}"),
        }
    }
    Err(refuse(last))
}

fn keeps(file: &Path, text: &str) -> Result<(), String> {
    let holds = fs::write(file, text)
        .and_then(|()| fs::read_to_string(file))
        .map_err(|error| format!("can't be written: {error}"))?;
    let wanted: Vec<&str> = text.split_whitespace().collect();
    let has_all = holds.lines().any(|line| {
        wanted
            .iter()
            .all(|word| line.split_whitespace().any(|found| found == *word))
    });
    if has_all {
        Ok(())
    } else {
        Err("does not keep what is written to it".to_owned())
    }
}

fn refuse(reason: String) -> Missing {
    Missing {
        reason,
        capabilities: Vec::new(),
    }
}
