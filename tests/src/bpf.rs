//! What is loaded in the kernel, by the kernel's own lists.

use std::collections::BTreeSet;

const PROG_GET_NEXT_ID: i64 = 11;
const MAP_GET_NEXT_ID: i64 = 12;
const LINK_GET_NEXT_ID: i64 = 31;
const PROG_GET_FD_BY_ID: i64 = 13;
const OBJ_GET_INFO_BY_FD: i64 = 15;

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

    /// How often the kernel has not run one of the programs where it hangs, because somebody was in the
    /// middle of it on the same processor.
    pub fn misses(&self) -> u64 {
        self.programs.iter().filter_map(|id| misses(*id)).sum()
    }

    /// What is there and is not in the other one.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
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

/// `recursion_misses` of a program, `None` if it has gone.
fn misses(id: u32) -> Option<u64> {
    /// Words of `struct bpf_prog_info` up to that one, which is the last (include/uapi/linux/bpf.h).
    const WORDS: usize = 27;
    #[repr(C)]
    struct Attribute {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut info = [0_u64; WORDS];
    // SAFETY: the kernel writes no more of the information than there is room for, and the descriptor is
    // nobody else's.
    unsafe {
        let by_id = [id, 0, 0];
        let fd = libc::syscall(
            libc::SYS_bpf,
            PROG_GET_FD_BY_ID,
            by_id.as_ptr(),
            size_of_val(&by_id),
        );
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        let mut attribute = Attribute {
            fd: fd.cast_unsigned(),
            length: u32::try_from(size_of_val(&info)).unwrap(),
            info: info.as_mut_ptr() as u64,
        };
        let told = libc::syscall(
            libc::SYS_bpf,
            OBJ_GET_INFO_BY_FD,
            &raw mut attribute,
            size_of::<Attribute>(),
        );
        libc::close(fd);
        (told == 0).then_some(info[WORDS - 1])
    }
}
