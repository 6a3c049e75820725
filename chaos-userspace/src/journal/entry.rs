//! What a record says.

use crate::state::Owner;

/// Something was changed that the kernel does not change back by itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Change {
    /// Unique among the changes of a machine.
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    /// Whose change it is: pid …
    #[prost(uint32, tag = "2")]
    pub owner_pid: u32,
    /// … and start, in clock ticks.
    #[prost(uint64, tag = "3")]
    pub owner_start: u64,
    /// The boot that it was made in. cgroups do not outlive it.
    #[prost(string, tag = "4")]
    pub boot_id: String,
    /// When it has to be undone at the latest, in nanoseconds of boot time.
    #[prost(uint64, tag = "5")]
    pub deadline_ns: u64,
    /// The cgroup, below the root of the tree.
    #[prost(string, tag = "6")]
    pub cgroup: String,
    /// The inode of its directory: another cgroup of the same name is not meant.
    #[prost(uint64, tag = "7")]
    pub cgroup_id: u64,
    /// The control file in it.
    #[prost(string, tag = "8")]
    pub file: String,
    /// What was in the file before any change of ours.
    #[prost(string, tag = "9")]
    pub original: String,
    /// What this change wants in it.
    #[prost(string, tag = "10")]
    pub wanted: String,
    /// Whose line of the file it is; empty for a file without lines of devices.
    #[prost(string, tag = "11")]
    pub device: String,
}

impl Change {
    /// Whose change it is.
    pub fn owner(&self) -> Owner {
        Owner {
            pid: self.owner_pid,
            start: self.owner_start,
        }
    }

    /// Whether both are about the same line of the same file of the same cgroup.
    pub(crate) fn same_place(&self, other: &Self) -> bool {
        let place = |change: &Self| {
            let Self {
                cgroup,
                file,
                device,
                ..
            } = change;
            (
                change.cgroup_id,
                cgroup.clone(),
                file.clone(),
                device.clone(),
            )
        };
        place(self) == place(other)
    }
}

/// The first instructions of functions in a process were replaced.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Patch {
    /// The process: pid …
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// … and start, in clock ticks.
    #[prost(uint64, tag = "2")]
    pub start: u64,
    /// Who did it: pid …
    #[prost(uint32, tag = "3")]
    pub owner_pid: u32,
    /// … and start, in clock ticks.
    #[prost(uint64, tag = "4")]
    pub owner_start: u64,
    /// The boot that it was made in.
    #[prost(string, tag = "5")]
    pub boot_id: String,
    /// What was there.
    #[prost(message, repeated, tag = "6")]
    pub bytes: Vec<PatchedBytes>,
}

impl Patch {
    /// Whose it is.
    pub fn owner(&self) -> Owner {
        Owner {
            pid: self.owner_pid,
            start: self.owner_start,
        }
    }

    /// Whether it is about this process.
    pub(crate) fn is_of(&self, pid: u32, start: u64) -> bool {
        (self.pid, self.start) == (pid, start)
    }
}

/// Bytes of a process before they were replaced.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PatchedBytes {
    /// Where.
    #[prost(fixed64, tag = "1")]
    pub address: u64,
    /// What was there.
    #[prost(bytes = "vec", tag = "2")]
    pub original: Vec<u8>,
}

/// A process that has its own bytes again, or is gone.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Restored {
    #[prost(uint32, tag = "1")]
    pub(super) pid: u32,
    #[prost(uint64, tag = "2")]
    pub(super) start: u64,
}

/// Devices and filters of ours in a network namespace. One of the same owner and namespace takes the place of
/// the one before.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Lane {
    /// The namespace, by its inode.
    #[prost(uint32, tag = "1")]
    pub netns: u32,
    /// The name of the device of ours.
    #[prost(string, tag = "2")]
    pub device: String,
    /// Who has made it: pid …
    #[prost(uint32, tag = "3")]
    pub owner_pid: u32,
    /// … and start, in clock ticks.
    #[prost(uint64, tag = "4")]
    pub owner_start: u64,
    /// The boot that it was made in.
    #[prost(string, tag = "5")]
    pub boot_id: String,
    /// Other devices, by their numbers, that had no hooks for filters (`clsact`) before.
    #[prost(uint32, repeated, tag = "6")]
    pub hooks: Vec<u32>,
    /// The number of the device of ours; 0 before it is known.
    #[prost(uint32, tag = "7")]
    pub index: u32,
}

impl Lane {
    /// Whose it is.
    pub fn owner(&self) -> Owner {
        Owner {
            pid: self.owner_pid,
            start: self.owner_start,
        }
    }

    /// Whether both are the same lane, whatever it has by now.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.netns, self.owner()) == (other.netns, other.owner())
    }
}

/// The payload of a record.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Entry {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(super) enum Kind {
    /// Written before the change is made.
    #[prost(message, tag = "1")]
    Begin(Change),
    /// Written after the change of this id was undone.
    #[prost(fixed64, tag = "2")]
    Done(u64),
    /// Written before the bytes are replaced.
    #[prost(message, tag = "3")]
    Patch(Patch),
    /// Written after they were put back.
    #[prost(message, tag = "4")]
    Restored(Restored),
    /// Written before any of it is made.
    #[prost(message, tag = "5")]
    Lane(Lane),
    /// Written after all of it was taken away.
    #[prost(message, tag = "6")]
    LaneGone(Lane),
}
