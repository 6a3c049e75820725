//! Tries the control files of cgroups out.

use std::{fs, io};

use super::{Capability, Missing};
use crate::{knob::CPU_MAX, node::scratch::ScratchCgroup, target::CgroupTree};

/// Anything but what a new cgroup has.
const LIMIT: &str = "50000 100000";

/// Whether a limit can be set on a cgroup directly below the root.
pub(super) fn probe() -> Result<(), Missing> {
    let refuse = |reason: String| Missing {
        reason,
        capabilities: Vec::new(),
    };
    let tree = CgroupTree::find().map_err(|error| refuse(error.to_string()))?;
    let root = tree.folder("/");
    let names = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    if !has_cpu(&names("cgroup.controllers")) {
        return Err(refuse(
            "the cpu controller is not in the cgroup v2 tree: it is in use by cgroup v1, or the \
             kernel has none"
                .to_owned(),
        ));
    }
    let switch = root.join("cgroup.subtree_control");
    if !has_cpu(&names("cgroup.subtree_control")) {
        return Err(refuse(format!(
            "no cgroup has the cpu controller: `echo +cpu >{}` hands it on",
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
    let file = scratch.folder().join(CPU_MAX);
    let holds = fs::write(&file, LIMIT)
        .and_then(|()| fs::read_to_string(&file))
        .map_err(|error| refuse(format!("{CPU_MAX} of a new cgroup: {error}")))?;
    if holds.trim() == LIMIT {
        Ok(())
    } else {
        Err(refuse(format!(
            "{CPU_MAX} of a new cgroup does not keep what is written to it"
        )))
    }
}

fn has_cpu(names: &str) -> bool {
    names.split_whitespace().any(|name| name == "cpu")
}
