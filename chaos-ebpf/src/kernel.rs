//! Where things lie in the running kernel's structures.
//!
//! Rust emits no CO-RE relocations, so user space resolves every offset from the kernel's BTF and
//! stores it here before the object is loaded. A global is constant for the verifier.

use aya_ebpf::{Global, helpers::bpf_probe_read_kernel};

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub static $name: Global<u32> = Global::new(0);
    )*};
}

offsets! {
    /// `struct file`: `f_path`
    OFF_FILE_PATH,
    /// `struct file`: `f_mode`
    OFF_FILE_MODE,
    /// `struct file`: `f_flags`
    OFF_FILE_FLAGS,
    /// `struct path`: `mnt`
    OFF_PATH_MNT,
    /// `struct path`: `dentry`
    OFF_PATH_DENTRY,
    /// `struct dentry`: `d_parent`
    OFF_DENTRY_PARENT,
    /// `struct dentry`: `d_name.len`
    OFF_DENTRY_NAME_LEN,
    /// `struct dentry`: `d_name.name`
    OFF_DENTRY_NAME,
    /// `struct dentry`: `d_sb`
    OFF_DENTRY_SB,
    /// `struct super_block`: `s_flags`
    OFF_SB_FLAGS,
    /// `struct mount`: `mnt`, the part that `struct path` points to
    OFF_MOUNT_MNT,
    /// `struct mount`: `mnt_parent`
    OFF_MOUNT_PARENT,
    /// `struct mount`: `mnt_mountpoint`
    OFF_MOUNT_MOUNTPOINT,
    /// `struct mount`: `mnt_ns`
    OFF_MOUNT_NS,
    /// `struct vfsmount`: `mnt_root`
    OFF_VFSMOUNT_ROOT,
    /// `struct task_struct`: `fs`
    OFF_TASK_FS,
    /// `struct task_struct`: `group_leader`
    OFF_TASK_LEADER,
    /// `struct task_struct`: `start_boottime`
    OFF_TASK_START,
    /// `struct task_struct`: `comm`
    OFF_TASK_COMM,
    /// `struct task_struct`: `cred`, with which it acts
    OFF_TASK_CRED,
    /// `struct task_struct`: `real_cred`, its own
    OFF_TASK_REAL_CRED,
    /// `struct fs_struct`: `root`
    OFF_FS_ROOT,
    /// `struct pt_regs`: `orig_ax`, the number of the system call
    OFF_REGS_ORIG_AX,
    /// `struct pt_regs`: `cs`
    OFF_REGS_CS,
}

/// Reads a value at an offset from a kernel address; `None` where there is none.
#[inline(always)]
pub unsafe fn read<T>(base: u64, offset: &Global<u32>) -> Option<T> {
    let address = base + u64::from(offset.load());
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}
