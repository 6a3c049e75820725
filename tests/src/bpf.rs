//! What is loaded in the kernel, by the kernel's own lists.

use std::collections::BTreeSet;

const PROG_GET_NEXT_ID: i64 = 11;
const MAP_GET_NEXT_ID: i64 = 12;
const LINK_GET_NEXT_ID: i64 = 31;

/// Ids of everything that is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
    /// Links.
    pub links: BTreeSet<u32>,
}

impl Loaded {
    /// As it is now.
    pub fn now() -> Self {
        Self {
            programs: ids(PROG_GET_NEXT_ID),
            maps: ids(MAP_GET_NEXT_ID),
            links: ids(LINK_GET_NEXT_ID),
        }
    }

    /// What is there now and was not then. The kernel frees a moment after the last descriptor is
    /// closed, so this waits for a while before it says that something stays.
    #[must_use]
    pub fn left_since(&self) -> Self {
        let mut left = Self::now().without(self);
        for _ in 0..100 {
            if left == Self::default() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            left = Self::now().without(self);
        }
        left
    }

    fn without(&self, other: &Self) -> Self {
        Self {
            programs: &self.programs - &other.programs,
            maps: &self.maps - &other.maps,
            links: &self.links - &other.links,
        }
    }
}

fn ids(command: i64) -> BTreeSet<u32> {
    #[repr(C)]
    struct Attribute {
        start: u32,
        next: u32,
        flags: u32,
        padding: u32,
    }
    let mut found = BTreeSet::new();
    let mut attribute = Attribute {
        start: 0,
        next: 0,
        flags: 0,
        padding: 0,
    };
    loop {
        // SAFETY: the attribute is as long as is said, and the kernel writes `next` only.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                &raw mut attribute,
                size_of::<Attribute>(),
            )
        };
        if result != 0 {
            return found;
        }
        found.insert(attribute.next);
        attribute.start = attribute.next;
    }
}
