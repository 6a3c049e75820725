//! What is asked of a disk (`struct bio`), and on whose account.

use chaos_common::{DiskOp, Filtered, RuleConfig, flags};

use crate::{
    cgroup,
    kernel::{
        OFF_BIO_BLKG, OFF_BIO_DEVICE, OFF_BIO_OPF, OFF_BIO_SIZE, OFF_BLKCG_CGROUP, OFF_BLKG_BLKCG,
        OFF_DEVICE_DISK, OFF_DEVICE_NUMBER, OFF_DISK_WHOLE, REQ_FIRST_FLAG, REQ_OP_DISCARD,
        REQ_OP_READ, REQ_OP_SECURE_ERASE, REQ_OP_WRITE, REQ_OP_WRITE_ZEROES, REQ_OP_ZONE_APPEND,
        REQ_PREFLUSH, read,
    },
    maps::RULES_DEVICE,
    subject::{By, Subject, Task},
};

/// The cgroup that a request is on the account of (`struct cgroup`): of whoever asked or, where a page
/// is written back, of whoever made it dirty. The current task may be anybody.
#[derive(Clone, Copy)]
pub struct Account(u64);

impl Account {
    /// Of a request; `None` when it is on nobody's.
    #[inline(always)]
    pub unsafe fn of(bio: u64) -> Option<Self> {
        // SAFETY: reads are checked by a helper.
        let cgroup = unsafe {
            let group: u64 = read(bio, &OFF_BIO_BLKG)?;
            let controller: u64 = read(group, &OFF_BLKG_BLKCG)?;
            read(controller, &OFF_BLKCG_CGROUP)?
        };
        (cgroup != 0).then_some(Self(cgroup))
    }
}

impl Subject for Account {
    /// Who is in its cgroup, and which of them it was, nobody knows any more when a page is written
    /// back.
    const TASK: bool = false;

    #[inline(always)]
    fn cgroup(&self) -> u64 {
        cgroup::id(self.0)
    }

    #[inline(always)]
    fn ancestor(&self, depth: u32) -> u64 {
        cgroup::ancestor(self.0, depth)
    }

    /// The task is the one that hands the request in, such as a kworker.
    #[inline(always)]
    fn describe(&self, detail: u64) -> By {
        By {
            cgroup: self.cgroup(),
            ..Task.describe(detail)
        }
    }
}

/// What a request asks for, a bit for each [`DiskOp`].
#[inline(always)]
pub unsafe fn operations(bio: u64) -> Option<u64> {
    // SAFETY: reads are checked by a helper.
    let (flags, bytes) = unsafe {
        (
            read::<u32>(bio, &OFF_BIO_OPF)?,
            read::<u32>(bio, &OFF_BIO_SIZE)?,
        )
    };
    let operation = flags & (REQ_FIRST_FLAG.load() - 1);
    let mut asked = if operation == REQ_OP_READ.load() {
        DiskOp::Read.bit()
    } else if operation == REQ_OP_WRITE.load()
        || operation == REQ_OP_WRITE_ZEROES.load()
        || operation == REQ_OP_ZONE_APPEND.load()
    {
        DiskOp::Write.bit()
    } else if operation == REQ_OP_DISCARD.load() || operation == REQ_OP_SECURE_ERASE.load() {
        DiskOp::Discard.bit()
    } else {
        0
    };
    if flags & REQ_PREFLUSH.load() != 0 {
        // A flush alone is a write of nothing (blkdev_issue_flush, block/blk-flush.c).
        if bytes == 0 {
            asked = 0;
        }
        asked |= DiskOp::Flush.bit();
    }
    Some(asked)
}

/// Whether a request is for the device that a rule is about, if it is about one: a partition, or a disk
/// with all of its partitions.
#[inline(always)]
pub unsafe fn is_on(number: u32, rule: &RuleConfig, bio: u64) -> Filtered {
    if rule.flags & flags::DEVICE == 0 {
        return Filtered::In;
    }
    // SAFETY: reads are checked by a helper; values are replaced whole, and the map is not
    // preallocated.
    unsafe {
        let (Some(wanted), Some(device)) =
            (RULES_DEVICE.get(number), read::<u64>(bio, &OFF_BIO_DEVICE))
        else {
            return Filtered::Unknown;
        };
        let Some(own) = read::<u32>(device, &OFF_DEVICE_NUMBER) else {
            return Filtered::Unknown;
        };
        if own == *wanted {
            return Filtered::In;
        }
        match whole(device) {
            None => Filtered::Unknown,
            Some(whole) if whole == *wanted => Filtered::In,
            Some(_) => Filtered::Out,
        }
    }
}

/// The number of the disk that a device is a part of, or is.
#[inline(always)]
unsafe fn whole(device: u64) -> Option<u32> {
    // SAFETY: reads are checked by a helper.
    unsafe {
        let disk: u64 = read(device, &OFF_DEVICE_DISK)?;
        let whole: u64 = read(disk, &OFF_DISK_WHOLE)?;
        read(whole, &OFF_DEVICE_NUMBER)
    }
}
