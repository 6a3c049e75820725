//! Names of files, as hooks hand them to programs.

use crate::{
    kernel::{OFF_FILE_PATH, OFF_MOUNT_MNT, OFF_MOUNT_NS, OFF_PATH_DENTRY, OFF_PATH_MNT, read},
    path,
    scratch::Scratch,
};

/// `MNT_NS_INTERNAL` (fs/mount.h): the namespace of mounts that the kernel keeps to itself. There
/// overlayfs has its layers, which it goes through for every operation on a directory, and there are
/// pipes, sockets and memory files, which nobody reaches by a name.
const INTERNAL: u64 = (-22_i64).cast_unsigned();

/// Where a name is: a mount, and a dentry on it, which need not exist yet.
#[derive(Clone, Copy)]
pub struct Name {
    mnt: u64,
    dentry: u64,
}

impl Name {
    /// What a `struct path` says.
    ///
    /// # Safety
    /// The kernel handed the address to the program.
    #[inline(always)]
    pub unsafe fn of_path(path: u64) -> Option<Self> {
        // SAFETY: reads are checked by a helper.
        unsafe {
            Some(Self {
                mnt: read(path, &OFF_PATH_MNT)?,
                dentry: read(path, &OFF_PATH_DENTRY)?,
            })
        }
    }

    /// A name in the directory that a `struct path` says.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn in_directory(directory: u64, dentry: u64) -> Option<Self> {
        // SAFETY: reads are checked by a helper.
        let mnt = unsafe { read(directory, &OFF_PATH_MNT)? };
        Some(Self { mnt, dentry })
    }

    /// That of an open file.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn of_file(file: u64) -> Option<Self> {
        // SAFETY: reads are checked by a helper.
        unsafe { Self::of_path(file + u64::from(OFF_FILE_PATH.load())) }
    }

    /// The dentry's address.
    #[inline(always)]
    pub const fn dentry(self) -> u64 {
        self.dentry
    }

    /// Resolves it into the scratch. Whether that could be done.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn resolve(self, scratch: Scratch) -> bool {
        // SAFETY: reads are checked by a helper.
        unsafe {
            path::resolve(
                scratch,
                scratch.forget(self.mnt),
                scratch.forget(self.dentry),
            )
        }
    }

    /// Whether the kernel keeps the mount to itself.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn is_internal(self) -> bool {
        let mount = self.mnt - u64::from(OFF_MOUNT_MNT.load());
        // SAFETY: reads are checked by a helper.
        unsafe { read(mount, &OFF_MOUNT_NS) == Some(INTERNAL) }
    }
}
