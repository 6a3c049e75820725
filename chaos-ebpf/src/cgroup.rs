//! A cgroup by its address (`struct cgroup`), where no helper says more.

use crate::kernel::{OFF_CGROUP_ANCESTORS, OFF_CGROUP_LEVEL, OFF_CGROUP_NODE, OFF_NODE_ID, read};

/// Its id, 0 if it can't be read.
#[inline(always)]
pub fn id(cgroup: u64) -> u64 {
    // SAFETY: reads are checked by a helper.
    unsafe {
        read::<u64>(cgroup, &OFF_CGROUP_NODE)
            .and_then(|node| read(node, &OFF_NODE_ID))
            .unwrap_or(0)
    }
}

/// The id of the cgroup at a depth of the tree on the way to it, 0 where there is none.
#[inline(always)]
pub fn ancestor(cgroup: u64, depth: u32) -> u64 {
    // SAFETY: reads are checked by a helper.
    unsafe {
        match read::<u32>(cgroup, &OFF_CGROUP_LEVEL) {
            Some(level) if depth <= level => {
                let place = cgroup + u64::from(depth) * size_of::<u64>() as u64;
                read(place, &OFF_CGROUP_ANCESTORS).map_or(0, id)
            }
            _ => 0,
        }
    }
}
