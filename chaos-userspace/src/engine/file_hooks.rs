//! Which hooks of the security modules say what of files, and the programs that are asked on them.

use chaos_common::FileEvent;

/// A hook; the program that is asked on it has the same name.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileHook {
    pub(super) name: &'static str,
    /// How many arguments the program takes it to have.
    pub(super) arguments: usize,
    /// Kernels without it have no need of it.
    pub(super) optional: bool,
}

const fn hook(name: &'static str, arguments: usize) -> FileHook {
    FileHook {
        name,
        arguments,
        optional: false,
    }
}

/// A hook that older kernels do not have, because there another one is asked in its place.
const fn newer(name: &'static str, arguments: usize) -> FileHook {
    FileHook {
        optional: true,
        ..hook(name, arguments)
    }
}

const FILE_OPEN: FileHook = hook("file_open", 1);
const FILE_PERMISSION: FileHook = hook("file_permission", 2);
const PATH_MKNOD: FileHook = hook("path_mknod", 4);

/// The hooks that events of a kind come by, each event by one of them.
pub(super) const fn of(event: FileEvent) -> &'static [FileHook] {
    match event {
        // A name that does not exist is made on the second hook, before the first one is asked.
        FileEvent::Open => &[FILE_OPEN, PATH_MKNOD],
        FileEvent::OpenWrite => &[FILE_OPEN],
        FileEvent::Create | FileEvent::Mknod => &[PATH_MKNOD],
        FileEvent::Read
        | FileEvent::Write
        | FileEvent::Readdir
        | FileEvent::Fill
        | FileEvent::Punch => &[FILE_PERMISSION],
        FileEvent::Mkdir => &const { [hook("path_mkdir", 3)] },
        FileEvent::Unlink => &const { [hook("path_unlink", 2)] },
        FileEvent::Rmdir => &const { [hook("path_rmdir", 2)] },
        FileEvent::Rename => &const { [hook("path_rename", 5)] },
        FileEvent::Link => &const { [hook("path_link", 3)] },
        FileEvent::Symlink => &const { [hook("path_symlink", 3)] },
        FileEvent::Getattr => &const { [hook("inode_getattr", 1)] },
        FileEvent::Setattr => &const { [hook("path_chmod", 2), hook("path_chown", 3)] },
        FileEvent::Utimes => &const { [hook("inode_setattr", 3)] },
        FileEvent::Truncate => &const { [hook("path_truncate", 1), newer("file_truncate", 1)] },
        FileEvent::Getxattr => &const { [hook("inode_getxattr", 2), newer("inode_get_acl", 3)] },
        FileEvent::Setxattr => &const { [hook("inode_setxattr", 6), newer("inode_set_acl", 4)] },
        FileEvent::Listxattr => &const { [hook("inode_listxattr", 1)] },
        FileEvent::Removexattr => {
            &const { [hook("inode_removexattr", 3), newer("inode_remove_acl", 3)] }
        }
    }
}

/// A hook by its name.
pub(super) fn named(name: &str) -> Option<FileHook> {
    FileEvent::ALL
        .into_iter()
        .flat_map(of)
        .find(|hook| hook.name == name)
        .copied()
}
