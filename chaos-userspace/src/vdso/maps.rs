//! Where a process has its memory.

use std::{fs, io};

/// What can be reached by a jump, with room to spare.
const REACH: u64 = (1 << 31) - (1 << 24);

/// The end of what a process may have, but for the last page.
const END: u64 = 0x7fff_ffff_e000;

/// Room that is left below a mapping that may grow.
const GROWTH: u64 = 1 << 30;

/// One line of /proc/PID/maps.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    name: String,
}

/// What a process has mapped, in order.
#[derive(Clone, Debug)]
pub(super) struct Maps(Vec<Mapping>);

impl Maps {
    /// Of a process.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        fs::read_to_string(format!("/proc/{pid}/maps")).map(|text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut fields = line.split_ascii_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            Some(Mapping {
                start: u64::from_str_radix(start, 16).ok()?,
                end: u64::from_str_radix(end, 16).ok()?,
                name: fields.nth(4).unwrap_or_default().to_owned(),
            })
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// Whether it has nothing: it has ended, or is about to.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where its vDSO is.
    pub(super) fn vdso(&self) -> Option<(u64, u64)> {
        let found = self.0.iter().find(|mapping| mapping.name == "[vdso]")?;
        Some((found.start, found.end))
    }

    /// Where so many bytes are free, as near to `place` as there are: not where the stack or the
    /// heap would grow.
    pub(super) fn gap(&self, place: u64, size: u64) -> Option<u64> {
        let mut best: Option<u64> = None;
        let mut behind: Option<&Mapping> = None;
        let next = self.0.iter().map(Some).chain([None]);
        for mapping in next {
            let mut start = behind.map_or(1 << 20, |it| it.end);
            let mut end = mapping.map_or(END, |it| it.start);
            // The kernel keeps a gap below what grows down, and does not say what does.
            match mapping {
                Some(it) if it.name == "[stack]" => end = end.saturating_sub(GROWTH),
                _ => end = end.min(END),
            }
            if behind.is_some_and(|it| it.name == "[heap]") {
                start += GROWTH;
            }
            behind = mapping.or(behind);
            if end < start || end - start < size {
                continue;
            }
            for candidate in [start, end - size] {
                if candidate.abs_diff(place) < best.map_or(REACH, |best| best.abs_diff(place)) {
                    best = Some(candidate);
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
00400000-00500000 r-xp 00000000 08:01 7   /bin/a b
00600000-00700000 rw-p 00000000 00:00 0   [heap]
7f0000000000-7f0000001000 r-xp 00000000 08:01 7 /lib/x
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
7ffd00030000-7ffd00034000 r--p 00000000 00:00 0 [vvar]
7ffd00034000-7ffd00036000 r-xp 00000000 00:00 0 [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
";

    #[test]
    fn a_gap_is_near_and_nobody_grows_into_it() {
        let maps = Maps::parse(TEXT);
        assert_eq!(maps.vdso(), Some((0x7ffd_0003_4000, 0x7ffd_0003_6000)));
        assert_eq!(maps.gap(0x7ffd_0003_4000, 0x2000), Some(0x7ffd_0003_6000));
        let full = TEXT.replace("7ffd00036000 r-xp", "7fffffffe000 r-xp");
        let gap = Maps::parse(&full).gap(0x7ffd_0003_4000, 0x2000);
        assert_eq!(gap, Some(0x7ffd_0002_e000), "between stack and vvar");
        let below = full.replace("7ffd00030000", "7ffd00021000");
        let gap = Maps::parse(&below).gap(0x7ffd_0003_4000, 0x2000);
        assert_eq!(gap, Some(0x7ffc_bfff_e000), "below what the stack may take");
        let heap = TEXT.replace("7ffd00034000-7ffd00036000 r-xp", "00710000-00712000 r-xp");
        let gap = Maps::parse(&heap).gap(0x71_0000, 0x2000);
        assert_eq!(gap, Some(0x71_2000));
    }
}
