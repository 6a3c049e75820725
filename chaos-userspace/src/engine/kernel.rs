//! What the programs need to know of the running kernel: offsets of fields, and functions.
//!
//! The names of the offsets are the globals of chaos-ebpf/src/kernel.rs.

use std::{collections::HashMap, fs, sync::OnceLock};

use super::{EngineError, Object, btf::Btf};

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
    ("OFF_DENTRY_INODE", "dentry", &["d_inode"]),
    ("OFF_INODE_MODE", "inode", &["i_mode"]),
    ("OFF_SB_FLAGS", "super_block", &["s_flags"]),
    ("OFF_SB_IFLAGS", "super_block", &["s_iflags"]),
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
    ("OFF_TASK_FLAGS", "task_struct", &["flags"]),
    ("OFF_TASK_STATUS", "task_struct", &["thread_info", "status"]),
    ("OFF_TASK_STACK", "task_struct", &["stack"]),
    ("OFF_FS_ROOT", "fs_struct", &["root"]),
    ("OFF_REGS_ORIG_AX", "pt_regs", &["orig_ax"]),
    ("OFF_REGS_BX", "pt_regs", &["bx"]),
    ("OFF_REGS_CX", "pt_regs", &["cx"]),
    ("OFF_REGS_DX", "pt_regs", &["dx"]),
    ("OFF_REGS_SI", "pt_regs", &["si"]),
    ("OFF_REGS_IP", "pt_regs", &["ip"]),
    ("OFF_REGS_SP", "pt_regs", &["sp"]),
    ("OFF_TASK_FILES", "task_struct", &["files"]),
    ("OFF_FILES_FDT", "files_struct", &["fdt"]),
    ("OFF_FDTABLE_MAX", "fdtable", &["max_fds"]),
    ("OFF_FDTABLE_FD", "fdtable", &["fd"]),
    ("OFF_FILE_INODE", "file", &["f_inode"]),
    ("OFF_FILE_PRIVATE", "file", &["private_data"]),
    ("OFF_INODE_SB", "inode", &["i_sb"]),
    ("OFF_SB_MAGIC", "super_block", &["s_magic"]),
    ("OFF_SOCKET_SK", "socket", &["sk"]),
    ("OFF_SOCK_CGROUP", "sock", &["sk_cgrp_data", "cgroup"]),
    ("OFF_SOCK_FAMILY", "sock", &["__sk_common", "skc_family"]),
    ("OFF_SOCK_PORT", "sock", &["__sk_common", "skc_dport"]),
    ("OFF_SOCK_IPV4", "sock", &["__sk_common", "skc_daddr"]),
    ("OFF_SOCK_IPV6", "sock", &["__sk_common", "skc_v6_daddr"]),
    ("OFF_REGS_DI", "pt_regs", &["di"]),
    ("OFF_REGS_R10", "pt_regs", &["r10"]),
    ("OFF_REGS_R8", "pt_regs", &["r8"]),
    ("OFF_REGS_R9", "pt_regs", &["r9"]),
];

/// The same of what not every kernel has: only the objects that can't do without are refused there.
const OPTIONAL_FIELDS: &[Field] = &[
    // PREEMPT_RT has another lock.
    ("OFF_MM_LOCK_COUNT", "mm_struct", &["mmap_lock", "count"]),
    ("OFF_CACHE_OBJECT_SIZE", "kmem_cache", &["object_size"]),
    ("OFF_CACHE_NAME", "kmem_cache", &["name"]),
];

/// The same of requests to disks, and of the cgroups that they are on the account of.
const REQUEST_FIELDS: &[Field] = &[
    ("OFF_BIO_DEVICE", "bio", &["bi_bdev"]),
    ("OFF_BIO_OPF", "bio", &["bi_opf"]),
    ("OFF_BIO_SIZE", "bio", &["bi_iter", "bi_size"]),
    // Without CONFIG_BLK_CGROUP a request is on nobody's account.
    ("OFF_BIO_BLKG", "bio", &["bi_blkg"]),
    ("OFF_BLKG_BLKCG", "blkcg_gq", &["blkcg"]),
    ("OFF_BLKCG_CGROUP", "blkcg", &["css", "cgroup"]),
    ("OFF_DEVICE_NUMBER", "block_device", &["bd_dev"]),
    ("OFF_DEVICE_DISK", "block_device", &["bd_disk"]),
    ("OFF_DISK_WHOLE", "gendisk", &["part0"]),
    ("OFF_CGROUP_LEVEL", "cgroup", &["level"]),
    // Linux 6.1 has made it pointers.
    ("OFF_CGROUP_ANCESTORS", "cgroup", &["ancestors"]),
    ("OFF_CGROUP_NODE", "cgroup", &["kn"]),
    ("OFF_NODE_ID", "kernfs_node", &["id"]),
];

/// Globals that are enumerators of `enum req_op`, by the same names.
const REQUEST_OPERATIONS: [&str; 6] = [
    "REQ_OP_READ",
    "REQ_OP_WRITE",
    "REQ_OP_WRITE_ZEROES",
    "REQ_OP_ZONE_APPEND",
    "REQ_OP_DISCARD",
    "REQ_OP_SECURE_ERASE",
];

/// A global, and the enumerator of `enum req_flag_bits` that says which bit it is.
const REQUEST_BITS: [(&str, &str); 2] = [
    ("REQ_FIRST_FLAG", "__REQ_FAILFAST_DEV"),
    ("REQ_PREFLUSH", "__REQ_PREFLUSH"),
];

/// A global, and the enumerator that says which bit of `gfp_t` it is: they have moved between
/// versions, and depend on the configuration. Before Linux 6.10 they were macros, which BTF does not
/// know.
const GFP_BITS: &[(&str, &str)] = &[
    ("GFP_DIRECT_RECLAIM", "___GFP_DIRECT_RECLAIM_BIT"),
    ("GFP_NOFAIL", "___GFP_NOFAIL_BIT"),
    ("GFP_IO", "___GFP_IO_BIT"),
    ("GFP_FS", "___GFP_FS_BIT"),
    ("GFP_HIGHMEM", "___GFP_HIGHMEM_BIT"),
];

/// Functions that programs may be attached to begin like one of these; all others are forgotten, to
/// keep the memory.
const FUNCTIONS: [&str; 5] = [
    "bpf_lsm_",
    "security_",
    "should_fail",
    "__x64_sys_",
    "__do_sys_",
];

/// The running kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Each global's name with its value, as far as it has one here.
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
        let mut offsets = FIELDS
            .iter()
            .map(|(global, structure, path)| {
                let offset = btf
                    .offset(structure, path)
                    .ok_or(EngineError::MissingField(global))?;
                Ok((*global, offset))
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        offsets.extend(
            OPTIONAL_FIELDS
                .iter()
                .chain(REQUEST_FIELDS)
                .filter_map(|(global, structure, path)| {
                    Some((*global, btf.offset(structure, path)?))
                }),
        );
        let bits = btf.enumerators("___GFP_");
        offsets.extend(GFP_BITS.iter().filter_map(|(global, enumerator)| {
            let bit = *bits.get(enumerator)?;
            Some((*global, 1_u32.checked_shl(bit)?))
        }));
        let operations = btf.enumerators("REQ_OP_");
        offsets.extend(
            REQUEST_OPERATIONS
                .iter()
                .filter_map(|name| Some((*name, *operations.get(name)?))),
        );
        let bits = btf.enumerators("__REQ_");
        offsets.extend(REQUEST_BITS.iter().filter_map(|(global, enumerator)| {
            let bit = *bits.get(enumerator)?;
            Some((*global, 1_u32.checked_shl(bit)?))
        }));
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

    /// Refuses an object that can't do without something that this kernel does not have, or does not
    /// tell.
    ///
    /// # Errors
    /// What it is.
    pub(super) fn suffices(&self, object: Object) -> Result<(), EngineError> {
        let is_known = |name: &str| self.offsets.iter().any(|(known, _)| *known == name);
        let needs_fields = object.optional_fields();
        if let Some(missing) = needs_fields.iter().find(|name| !is_known(name)) {
            return Err(EngineError::MissingField(missing));
        }
        let of_requests = REQUEST_FIELDS.iter().map(|(global, ..)| *global);
        let mut of_requests = of_requests
            .chain(REQUEST_OPERATIONS)
            .chain(REQUEST_BITS.iter().map(|(global, _)| *global));
        if object.reads_requests()
            && let Some(missing) = of_requests.find(|name| !is_known(name))
        {
            return Err(EngineError::MissingField(missing));
        }
        if object.reads_gfp() && !GFP_BITS.iter().all(|(global, _)| is_known(global)) {
            return Err(EngineError::NoHook(
                "this kernel does not tell which bit of gfp_t means what (in its BTF, since Linux 6.10)"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// `None` when this kernel has no such function.
    pub(super) fn function(&self, name: &str) -> Option<Function> {
        self.functions.get(name).copied()
    }
}
