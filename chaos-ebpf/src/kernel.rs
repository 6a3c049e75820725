//! Where things lie in the running kernel's structures.
//!
//! Rust emits no CO-RE relocations, so user space resolves every offset from the kernel's BTF and
//! stores it here before the object is loaded. A global is constant for the verifier.

use core::ffi::c_void;

use aya_ebpf::{
    Global,
    helpers::{bpf_probe_read_kernel, generated::bpf_probe_read_kernel as probe_read_kernel},
};

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
    /// `struct dentry`: `d_inode`
    OFF_DENTRY_INODE,
    /// `struct inode`: `i_mode`
    OFF_INODE_MODE,
    /// `struct super_block`: `s_flags`
    OFF_SB_FLAGS,
    /// `struct super_block`: `s_iflags`
    OFF_SB_IFLAGS,
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
    /// `struct task_struct`: `flags`
    OFF_TASK_FLAGS,
    /// `struct task_struct`: `thread_info.status`
    OFF_TASK_STATUS,
    /// `struct task_struct`: `stack`, the lower end of what it runs on in the kernel
    OFF_TASK_STACK,
    /// `struct mm_struct`: `mmap_lock.count`
    OFF_MM_LOCK_COUNT,
    /// `struct kmem_cache`: `object_size`
    OFF_CACHE_OBJECT_SIZE,
    /// `struct kmem_cache`: `name`
    OFF_CACHE_NAME,
    /// Not where something lies, but a bit of `gfp_t`: `__GFP_DIRECT_RECLAIM`
    GFP_DIRECT_RECLAIM,
    /// `__GFP_NOFAIL`
    GFP_NOFAIL,
    /// `__GFP_IO`
    GFP_IO,
    /// `__GFP_FS`
    GFP_FS,
    /// `__GFP_HIGHMEM`
    GFP_HIGHMEM,
    /// `struct bio`: `bi_bdev`
    OFF_BIO_DEVICE,
    /// `struct bio`: `bi_opf`
    OFF_BIO_OPF,
    /// `struct bio`: `bi_iter.bi_size`
    OFF_BIO_SIZE,
    /// `struct bio`: `bi_blkg`
    OFF_BIO_BLKG,
    /// `struct block_device`: `bd_dev`
    OFF_DEVICE_NUMBER,
    /// `struct block_device`: `bd_disk`
    OFF_DEVICE_DISK,
    /// `struct gendisk`: `part0`, the device that is all of it
    OFF_DISK_WHOLE,
    /// `struct blkcg_gq`: `blkcg`
    OFF_BLKG_BLKCG,
    /// `struct blkcg`: `css.cgroup`
    OFF_BLKCG_CGROUP,
    /// `struct cgroup`: `level`
    OFF_CGROUP_LEVEL,
    /// `struct cgroup`: `ancestors`, from the root to itself
    OFF_CGROUP_ANCESTORS,
    /// `struct cgroup`: `kn`
    OFF_CGROUP_NODE,
    /// `struct kernfs_node`: `id`
    OFF_NODE_ID,
    /// Not where something lies, but the lowest flag of `bi_opf`: what is below is the operation
    REQ_FIRST_FLAG,
    /// Another flag: `REQ_PREFLUSH`
    REQ_PREFLUSH,
    /// An operation: `REQ_OP_READ`
    REQ_OP_READ,
    /// `REQ_OP_WRITE`
    REQ_OP_WRITE,
    /// `REQ_OP_WRITE_ZEROES`
    REQ_OP_WRITE_ZEROES,
    /// `REQ_OP_ZONE_APPEND`
    REQ_OP_ZONE_APPEND,
    /// `REQ_OP_DISCARD`
    REQ_OP_DISCARD,
    /// `REQ_OP_SECURE_ERASE`
    REQ_OP_SECURE_ERASE,
    /// `struct fs_struct`: `root`
    OFF_FS_ROOT,
    /// `struct pt_regs`: `orig_ax`, the number of the system call
    OFF_REGS_ORIG_AX,
    /// `struct pt_regs`: `bx`, the first argument of a call of i386
    OFF_REGS_BX,
    /// `struct pt_regs`: `ip`
    OFF_REGS_IP,
    /// `struct pt_regs`: `sp`
    OFF_REGS_SP,
    /// `struct pt_regs`: `cx`, the second argument of a call of i386
    OFF_REGS_CX,
    /// `struct pt_regs`: `dx`, the third argument of any call
    OFF_REGS_DX,
    /// `struct pt_regs`: `si`, the second argument of a call of x86-64
    OFF_REGS_SI,
    /// `struct task_struct`: `files`
    OFF_TASK_FILES,
    /// `struct files_struct`: `fdt`
    OFF_FILES_FDT,
    /// `struct fdtable`: `max_fds`
    OFF_FDTABLE_MAX,
    /// `struct fdtable`: `fd`
    OFF_FDTABLE_FD,
    /// `struct file`: `f_inode`
    OFF_FILE_INODE,
    /// `struct file`: `private_data`
    OFF_FILE_PRIVATE,
    /// `struct inode`: `i_sb`
    OFF_INODE_SB,
    /// `struct super_block`: `s_magic`
    OFF_SB_MAGIC,
    /// `struct socket`: `sk`
    OFF_SOCKET_SK,
    /// `struct sock`: `sk_cgrp_data.cgroup`
    OFF_SOCK_CGROUP,
    /// `struct sock`: `__sk_common.skc_family`
    OFF_SOCK_FAMILY,
    /// `struct sock`: `__sk_common.skc_dport`
    OFF_SOCK_PORT,
    /// `struct sock`: `__sk_common.skc_daddr`
    OFF_SOCK_IPV4,
    /// `struct sock`: `__sk_common.skc_v6_daddr`
    OFF_SOCK_IPV6,
    /// `struct pt_regs`: `di`, a system call's first argument
    OFF_REGS_DI,
    /// `struct pt_regs`: `r10`, its fourth
    OFF_REGS_R10,
    /// `struct pt_regs`: `r8`, its fifth
    OFF_REGS_R8,
    /// `struct pt_regs`: `r9`, its sixth
    OFF_REGS_R9,
}

/// Reads a value at an offset from a kernel address to a place; `None` where there is none, and the
/// place is cleared then.
#[inline(always)]
pub unsafe fn read_to<T>(base: u64, offset: &Global<u32>, place: *mut T) -> Option<()> {
    let address = base + u64::from(offset.load());
    // SAFETY: the helper checks the address, and there is room for a value.
    let status = unsafe {
        probe_read_kernel(
            place.cast(),
            size_of::<T>() as u32,
            address as *const c_void,
        )
    };
    (status == 0).then_some(())
}

/// Reads a value at an offset from a kernel address; `None` where there is none.
#[inline(always)]
pub unsafe fn read<T>(base: u64, offset: &Global<u32>) -> Option<T> {
    let address = base + u64::from(offset.load());
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}
