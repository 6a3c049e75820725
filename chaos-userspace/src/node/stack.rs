//! Where threads were in user space: addresses, and the files that are mapped there.

use std::{collections::HashMap, fs, time::Duration};

use chaos_common::TargetKey;

use crate::target::in_first_pid_namespace;

/// One frame of a thread's stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where the thread was, or to where it was to return.
    pub address: u64,
    /// What is mapped there, if that was still to be seen when the event was read.
    pub place: Option<Place>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its path as the process sees it.
    pub file: String,
    /// Bytes from its start.
    pub offset: u64,
}

/// What processes have mapped, each looked at once.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    by_process: HashMap<u32, Vec<Mapping>>,
}

/// A part of a file that is mapped to be executed.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    file: String,
}

impl Mappings {
    /// The frames of an event of a process at some boot time. They stay bare addresses where the
    /// process is gone, or another one has its number.
    pub(super) fn frames(&mut self, pid: u32, at: Duration, addresses: &[u64]) -> Vec<Frame> {
        let mappings = self
            .by_process
            .entry(pid)
            .or_insert_with(|| look(pid, at).unwrap_or_default());
        addresses
            .iter()
            .map(|address| Frame {
                address: *address,
                place: mappings.iter().find_map(|mapping| mapping.place(*address)),
            })
            .collect()
    }
}

impl Mapping {
    /// A line of /proc/PID/maps (proc(5)), if it is one of a file with code.
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let executable = fields.next()?.contains('x');
        let offset = fields.next()?;
        let file = fields.nth(2)?.trim_start();
        if !executable || !file.starts_with('/') {
            return None;
        }
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self {
            start: number(start)?,
            end: number(end)?,
            offset: number(offset)?,
            file: file.to_owned(),
        })
    }

    fn place(&self, address: u64) -> Option<Place> {
        (self.start..self.end).contains(&address).then(|| Place {
            file: self.file.clone(),
            offset: address - self.start + self.offset,
        })
    }
}

/// What the process that had this number at that time has mapped.
fn look(pid: u32, at: Duration) -> Option<Vec<Mapping>> {
    if !in_first_pid_namespace() {
        return None;
    }
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    // Read afterwards: who has the number now had it then.
    let start = crate::target::start_ticks(pid)?;
    if Duration::from_nanos(start.saturating_mul(TargetKey::TICK_NS)) > at {
        return None;
    }
    Some(maps.lines().filter_map(Mapping::read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot;

    #[test]
    fn lines_of_maps() {
        let line = "7f0000001000-7f0000003000 r-xp 00002000 08:01 123    /usr/lib/a b.so (deleted)";
        let mapping = Mapping::read(line).unwrap();
        assert_eq!(
            mapping.place(0x7f00_0000_2fff),
            Some(Place {
                file: "/usr/lib/a b.so (deleted)".to_owned(),
                offset: 0x3fff,
            })
        );
        assert_eq!(mapping.place(0x7f00_0000_3000), None);
        for other in [
            "7f0000001000-7f0000003000 r--p 00002000 08:01 123    /usr/lib/a.so",
            "7f0000001000-7f0000003000 r-xp 00000000 00:00 0      [vdso]",
            "7f0000001000-7f0000003000 r-xp 00000000 00:00 0 ",
            "7f0000001000-7f0000003000 r-xp 00000000 00:00 0",
            "zzz-7f0000003000 r-xp 00002000 08:01 123    /usr/lib/a.so",
            "",
        ] {
            assert_eq!(Mapping::read(other), None, "{other}");
        }
    }

    #[test]
    fn a_function_of_this_process_lies_in_its_file_and_of_no_other_time() {
        let address = boot::time_ns as fn() -> u64 as usize as u64;
        let pid = std::process::id();
        let now = Duration::from_nanos(boot::time_ns());
        let frames = Mappings::default().frames(pid, now, &[address, 8]);
        let own = std::env::current_exe().unwrap();
        if in_first_pid_namespace() {
            let place = frames[0].place.as_ref().unwrap();
            assert_eq!(place.file, own.display().to_string());
        }
        assert_eq!((frames[1].address, &frames[1].place), (8, &None));
        // Before this process began, its number was somebody else's.
        let earlier = Mappings::default().frames(pid, Duration::from_nanos(1), &[address]);
        assert_eq!(earlier[0].place, None);
    }
}
