//! The offsets of kernel fields that the programs read, from the running kernel's BTF.
//!
//! The names are the globals of chaos-ebpf/src/kernel.rs.

use std::{fs, sync::OnceLock};

use super::{EngineError, btf::Btf};

/// A global, the structure and the way to its field.
type Field = (&'static str, &'static str, &'static [&'static str]);

const FIELDS: &[Field] = &[
    ("OFF_FILE_PATH", "file", &["f_path"]),
    ("OFF_FILE_MODE", "file", &["f_mode"]),
    ("OFF_FILE_FLAGS", "file", &["f_flags"]),
    ("OFF_PATH_MNT", "path", &["mnt"]),
    ("OFF_PATH_DENTRY", "path", &["dentry"]),
    ("OFF_DENTRY_PARENT", "dentry", &["d_parent"]),
    ("OFF_DENTRY_NAME_LEN", "dentry", &["d_name", "len"]),
    ("OFF_DENTRY_NAME", "dentry", &["d_name", "name"]),
    ("OFF_MOUNT_MNT", "mount", &["mnt"]),
    ("OFF_MOUNT_PARENT", "mount", &["mnt_parent"]),
    ("OFF_MOUNT_MOUNTPOINT", "mount", &["mnt_mountpoint"]),
    ("OFF_VFSMOUNT_ROOT", "vfsmount", &["mnt_root"]),
    ("OFF_TASK_FS", "task_struct", &["fs"]),
    ("OFF_TASK_LEADER", "task_struct", &["group_leader"]),
    ("OFF_TASK_START", "task_struct", &["start_boottime"]),
    ("OFF_FS_ROOT", "fs_struct", &["root"]),
    ("OFF_REGS_ORIG_AX", "pt_regs", &["orig_ax"]),
    ("OFF_REGS_CS", "pt_regs", &["cs"]),
];

/// Each global's name with its value for the running kernel.
///
/// # Errors
/// When the kernel has no BTF, or lacks a field: it is named.
pub(super) fn offsets() -> Result<&'static [(&'static str, u32)], EngineError> {
    static OFFSETS: OnceLock<Vec<(&str, u32)>> = OnceLock::new();
    if let Some(known) = OFFSETS.get() {
        return Ok(known);
    }
    let blob =
        fs::read("/sys/kernel/btf/vmlinux").map_err(|error| EngineError::Btf(error.to_string()))?;
    let btf = Btf::parse(&blob)?;
    let resolved = FIELDS
        .iter()
        .map(|(global, structure, path)| {
            let offset = btf
                .offset(structure, path)
                .ok_or(EngineError::MissingField(global))?;
            Ok((*global, offset))
        })
        .collect::<Result<Vec<_>, EngineError>>()?;
    Ok(OFFSETS.get_or_init(|| resolved))
}
