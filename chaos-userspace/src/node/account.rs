//! What a fault about requests to disks needs of its machine: the kernel has an account of them for
//! each cgroup that has the io controller; what others ask for is on their nearest ancestor's.

use super::NodeError;
use crate::{
    experiment::{DiskError, DiskOp, Fault, FaultKind},
    target::{Cgroup, CgroupTree, Resolved, device},
};

/// What was found out for one fault; nothing for all other kinds.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// The number of the device that the fault names.
    pub(super) device: Option<u32>,
    /// What is not covered here.
    pub(super) gap: Option<String>,
}

impl Account {
    /// Finds the device, and looks whether target and exclusions have accounts of their own.
    pub(super) fn find(
        tree: &CgroupTree,
        fault: &Fault,
        target: &Resolved,
        excluded: &[Cgroup],
    ) -> Result<Self, NodeError> {
        let FaultKind::DiskError(kind) = &fault.kind else {
            return Ok(Self::default());
        };
        let cannot = |reason: String| {
            NodeError::Unsupported(format!(
                "fault {}: this node can't do {} there:\n  {reason}",
                fault.id,
                fault.kind.name()
            ))
        };
        let gap = gap(tree, kind, target, excluded).map_err(cannot)?;
        let device = kind.device.as_deref().map(device::find).transpose();
        let device = device.map_err(|reason| cannot(format!("device: {reason}")))?;
        Ok(Self { device, gap })
    }
}

/// What would be on somebody else's account, for people.
///
/// # Errors
/// The target would never be hit, or something that is left out would be.
fn gap(
    tree: &CgroupTree,
    kind: &DiskError,
    target: &Resolved,
    excluded: &[Cgroup],
) -> Result<Option<String>, String> {
    let Resolved::Cgroups(cgroups) = target else {
        return Err("requests to disks are on the account of a cgroup".to_owned());
    };
    let lacking = |cgroups: &[Cgroup], controller| {
        cgroups.iter().find_map(|cgroup| {
            let reason = tree.lacks(cgroup.path(), controller)?;
            Some((cgroup.path().to_owned(), reason))
        })
    };
    if let Some((path, reason)) = lacking(cgroups, "io") {
        return Err(format!(
            "what cgroup {path} asks of disks is on another cgroup's account: {reason}"
        ));
    }
    if let Some((path, reason)) = lacking(excluded, "io") {
        return Err(format!(
            "exclude: what cgroup {path} asks of disks is on the target's account: {reason}"
        ));
    }
    if !kind.operations().contains(&DiskOp::Write) {
        return Ok(None);
    }
    // A page that is written back later is on the account of the cgroup whose memory it is.
    if let Some((path, reason)) = lacking(cgroups, "memory") {
        return Ok(Some(format!(
            "buffered writes of cgroup {path}, which are on another cgroup's account: {reason}"
        )));
    }
    if let Some((path, reason)) = lacking(excluded, "memory") {
        return Err(format!(
            "exclude: buffered writes of cgroup {path} are on the target's account: {reason}"
        ));
    }
    Ok(None)
}
