//! What can happen to files, by the numbers under which a [`crate::CallSet`] has it.

/// One kind of event of files; an event may be of several kinds, as an open that creates its file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum FileEvent {
    /// Any open.
    Open = 0,
    /// An open that creates its file.
    Create = 1,
    /// A read from it.
    Read = 2,
    /// A write to it.
    Write = 3,
    /// Entries of a directory are read.
    Readdir = 4,
    /// A directory is made.
    Mkdir = 5,
    /// A name is removed.
    Unlink = 6,
    /// A directory is removed.
    Rmdir = 7,
    /// A name is moved, or two change places.
    Rename = 8,
    /// A further name is given.
    Link = 9,
    /// A symbolic link is made.
    Symlink = 10,
    /// A fifo, a device or a socket is made, or a file without an open.
    Mknod = 11,
    /// Size, times, owner … are asked for.
    Getattr = 12,
    /// Mode or owner are changed.
    Setattr = 13,
    /// The length is changed.
    Truncate = 14,
    /// An extended attribute is read.
    Getxattr = 15,
    /// An extended attribute is written.
    Setxattr = 16,
    /// The names of extended attributes are read.
    Listxattr = 17,
    /// An extended attribute is removed.
    Removexattr = 18,
    /// It is written to, or given room, by a call that is no write: sendfile, splice,
    /// `copy_file_range`, fallocate, or an ioctl that clones.
    Fill = 19,
    /// Room is taken from it, by fallocate.
    Punch = 20,
    /// An open for writing, of what is there.
    OpenWrite = 21,
    /// Its times are set.
    Utimes = 22,
}

impl FileEvent {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 23] = [
        Self::Open,
        Self::Create,
        Self::Read,
        Self::Write,
        Self::Readdir,
        Self::Mkdir,
        Self::Unlink,
        Self::Rmdir,
        Self::Rename,
        Self::Link,
        Self::Symlink,
        Self::Mknod,
        Self::Getattr,
        Self::Setattr,
        Self::Truncate,
        Self::Getxattr,
        Self::Setxattr,
        Self::Listxattr,
        Self::Removexattr,
        Self::Fill,
        Self::Punch,
        Self::OpenWrite,
        Self::Utimes,
    ];

    /// Its bit in the first word of a set, where all of them are.
    #[inline(always)]
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self as u32
    }
}

const _: () = {
    let mut index = 0;
    while index < FileEvent::ALL.len() {
        assert!(FileEvent::ALL[index] as usize == index && index < 64);
        index += 1;
    }
};
