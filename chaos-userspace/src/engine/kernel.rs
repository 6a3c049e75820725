//! What the programs need to know of the running kernel: offsets of fields, and functions.
//!
//! The names of the offsets are the globals of chaos-ebpf/src/kernel.rs.

use std::{collections::HashMap, fs, sync::OnceLock};

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
    ("OFF_DENTRY_SB", "dentry", &["d_sb"]),
    ("OFF_SB_FLAGS", "super_block", &["s_flags"]),
    ("OFF_MOUNT_MNT", "mount", &["mnt"]),
    ("OFF_MOUNT_PARENT", "mount", &["mnt_parent"]),
    ("OFF_MOUNT_MOUNTPOINT", "mount", &["mnt_mountpoint"]),
    ("OFF_MOUNT_NS", "mount", &["mnt_ns"]),
    ("OFF_VFSMOUNT_ROOT", "vfsmount", &["mnt_root"]),
    ("OFF_TASK_FS", "task_struct", &["fs"]),
    ("OFF_TASK_LEADER", "task_struct", &["group_leader"]),
    ("OFF_TASK_START", "task_struct", &["start_boottime"]),
    ("OFF_TASK_COMM", "task_struct", &["comm"]),
    ("OFF_TASK_CRED", "task_struct", &["cred"]),
    ("OFF_TASK_REAL_CRED", "task_struct", &["real_cred"]),
    ("OFF_FS_ROOT", "fs_struct", &["root"]),
    ("OFF_REGS_ORIG_AX", "pt_regs", &["orig_ax"]),
    ("OFF_REGS_CS", "pt_regs", &["cs"]),
];

/// Functions that programs may be attached to begin like one of these; all others are forgotten, to
/// keep the memory.
const FUNCTIONS: [&str; 4] = ["bpf_lsm_", "security_", "__x64_sys_", "__do_sys_"];

/// The running kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Each global's name with its value.
    pub(super) offsets: Vec<(&'static str, u32)>,
    functions: HashMap<String, Function>,
}

/// A function of the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    /// Its BTF id.
    pub(super) id: u32,
    /// How many arguments it takes.
    pub(super) arguments: usize,
}

impl Kernel {
    /// Reads the kernel's BTF, once in the life of the process.
    ///
    /// # Errors
    /// When the kernel has no BTF, or lacks a field: it is named.
    pub(super) fn get() -> Result<&'static Self, EngineError> {
        static KERNEL: OnceLock<Kernel> = OnceLock::new();
        if let Some(known) = KERNEL.get() {
            return Ok(known);
        }
        let kernel = Self::read()?;
        Ok(KERNEL.get_or_init(|| kernel))
    }

    fn read() -> Result<Self, EngineError> {
        let blob = fs::read("/sys/kernel/btf/vmlinux")
            .map_err(|error| EngineError::Btf(error.to_string()))?;
        let btf = Btf::parse(&blob)?;
        let offsets = FIELDS
            .iter()
            .map(|(global, structure, path)| {
                let offset = btf
                    .offset(structure, path)
                    .ok_or(EngineError::MissingField(global))?;
                Ok((*global, offset))
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        let functions = btf
            .functions()
            .filter(|(name, _)| FUNCTIONS.iter().any(|prefix| name.starts_with(prefix)))
            .filter_map(|(name, id)| {
                let arguments = btf.arguments(id)?;
                Some((name.to_owned(), Function { id, arguments }))
            })
            .collect();
        Ok(Self { offsets, functions })
    }

    /// `None` when this kernel has no such function.
    pub(super) fn function(&self, name: &str) -> Option<Function> {
        self.functions.get(name).copied()
    }
}
