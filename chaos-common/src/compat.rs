//! What 32-bit programs ask for: i386 has system calls of its own, with other numbers.

/// No call of x86-64's does the same.
const NONE: u16 = u16::MAX;

/// The first entry of the calls behind `socketcall` (include/uapi/linux/net.h).
const SOCKETCALL: u64 = 512;

/// The first entry of those behind `ipc` (include/uapi/linux/ipc.h).
const IPC: u64 = 544;

/// How many entries there are; from a number of i386's, [`SOCKETCALL`] or [`IPC`] on.
const ENTRIES: usize = 576;

/// From this number on both tables are the same (`arch/x86/entry/syscalls/syscall_32.tbl`, since 5.1).
const COMMON: u64 = 424;

/// The number that the same call has in the table of x86-64 (arch/x86/entry/syscalls).
#[rustfmt::skip]
static NATIVE: [u16; ENTRIES] = [
    219, 60, 57, 0, 1, 2, 3, 61, 85, 86, 87, 59, 80, 201, 133, 90, // 0
    94, NONE, 4, 8, 39, 165, 166, 105, 102, NONE, 101, 37, 5, 34, 132, NONE, // 16
    NONE, 21, NONE, NONE, 162, 62, 82, 83, 84, 32, 22, 100, NONE, 12, 106, 104, // 32
    13, 107, 108, 163, 166, NONE, 16, 72, NONE, 109, NONE, 63, 95, 161, 136, 33, // 48
    110, 111, 112, 13, NONE, NONE, 113, 114, 130, 127, 170, 160, 97, 98, 96, 164, // 64
    115, 116, 23, 88, 6, 89, 134, 167, 169, 78, 9, 11, 76, 77, 91, 93, // 80
    140, 141, NONE, 137, 138, 173, NONE, 103, 38, 36, 4, 6, 5, 63, 172, 153, // 96
    NONE, NONE, 61, 168, 99, NONE, 74, NONE, 56, 171, 63, 154, 159, 10, 14, 174, // 112
    175, 176, 177, 179, 121, 81, NONE, 139, 135, 183, 122, 123, 8, 78, 23, 73, // 128
    26, 19, 20, 124, 75, 156, 149, 150, 151, 152, 142, 143, 144, 145, 24, 146, // 144
    147, 148, 35, 25, 117, 118, NONE, 178, 7, 180, 119, 120, 157, 15, 13, 14, // 160
    127, 128, 129, 130, 17, 18, 92, 79, 125, 126, 131, 40, 181, 182, 58, 97, // 176
    9, 76, 77, 4, 6, 5, 94, 102, 104, 107, 108, 113, 114, 115, 116, 93, // 192
    117, 118, 119, 120, 92, 105, 106, 122, 123, 155, 27, 28, 217, 72, NONE, NONE, // 208
    186, 187, 188, 189, 190, 191, 192, 193, 194, 195, 196, 197, 198, 199, 200, 40, // 224
    202, 203, 204, 205, 211, 206, 207, 208, 209, 210, 221, NONE, 231, 212, 213, 233, // 240
    232, 216, 218, 222, 223, 224, 225, 226, 227, 228, 229, 230, 137, 138, 234, 235, // 256
    221, 236, 237, 239, 238, 240, 241, 242, 243, 244, 245, 246, 247, NONE, 248, 249, // 272
    250, 251, 252, 253, 254, 255, 256, 257, 258, 259, 260, 261, 262, 263, 264, 265, // 288
    266, 267, 268, 269, 270, 271, 272, 273, 274, 275, 277, 276, 278, 279, 309, 281, // 304
    280, 282, 283, 284, 285, 286, 287, 289, 290, 291, 292, 293, 294, 295, 296, 297, // 320
    298, 299, 300, 301, 302, 303, 304, 305, 306, 307, 308, 310, 311, 312, 313, 314, // 336
    315, 316, 317, 318, 319, 321, 322, 41, 53, 49, 42, 50, 288, 55, 54, 51, // 352
    52, 44, 46, 45, 47, 48, 323, 324, 325, 326, 327, 328, 329, 330, 331, 332, // 368
    158, 333, 334, NONE, NONE, NONE, NONE, NONE, NONE, 64, 66, 29, 31, 30, 67, 68, // 384
    69, 70, 71, 228, 227, 305, 229, 230, 224, 223, 287, 286, 280, 270, 271, NONE, // 400
    333, 299, 242, 243, 220, 128, 202, 148, 424, 425, 426, 427, 428, 429, 430, 431, // 416
    432, 433, 434, 435, 436, 437, 438, 439, 440, 441, 442, 443, 444, 445, 446, 447, // 432
    448, 449, 450, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, // 448
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, // 464
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, // 480
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, // 496
    NONE, 41, 49, 42, 50, 43, 51, 52, 53, 44, 45, 44, 45, 48, 54, 55, // 512
    46, 47, 288, 299, 307, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, // 528
    NONE, 65, 64, 66, 220, NONE, NONE, NONE, NONE, NONE, NONE, 69, 70, 68, 71, NONE, // 544
    NONE, NONE, NONE, NONE, NONE, 30, 67, 29, 31, NONE, NONE, NONE, NONE, NONE, NONE, NONE, // 560
];

/// The number in the table of x86-64 of what does the same as a call of i386's. `first` is its first
/// argument: some are only a way to others. `None` for those that x86-64 has nothing like.
#[inline(always)]
#[must_use]
pub fn native(number: u64, first: impl FnOnce() -> Option<u64>) -> Option<u64> {
    const SOCKETCALL_NUMBER: u64 = 102;
    const IPC_NUMBER: u64 = 117;
    let index = match number {
        COMMON.. => return Some(number),
        SOCKETCALL_NUMBER => behind(first()?)? + SOCKETCALL,
        // The upper half is a version.
        IPC_NUMBER => behind(first()? & 0xffff)? + IPC,
        _ => number,
    };
    let native = *NATIVE.get(usize::try_from(index).ok()?)?;
    (native != NONE).then_some(native.into())
}

/// Which of the calls behind another one it is.
#[inline(always)]
const fn behind(which: u64) -> Option<u64> {
    const MOST: u64 = 31;
    if which > MOST { None } else { Some(which) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(number: u64) -> Option<u64> {
        native(number, || None)
    }

    // Numbers of arch/x86/entry/syscalls/syscall_32.tbl and syscall_64.tbl.
    #[test]
    fn calls_of_both_tables_meet() {
        for (theirs, ours) in [
            (3, 0),     // read
            (5, 2),     // open
            (11, 59),   // execve
            (45, 12),   // brk
            (90, 9),    // mmap
            (118, 74),  // fsync
            (140, 8),   // _llseek: lseek
            (192, 9),   // mmap2: mmap
            (195, 4),   // stat64: stat
            (221, 72),  // fcntl64: fcntl
            (295, 257), // openat
            (362, 42),  // connect
            (403, 228), // clock_gettime64: clock_gettime
            (422, 202), // futex_time64: futex
            (437, 437), // openat2
            (452, 452), // fchmodat2
        ] {
            assert_eq!(plain(theirs), Some(ours), "{theirs}");
        }
    }

    #[test]
    fn what_is_behind_another_call_is_found_by_its_argument() {
        assert_eq!(native(102, || Some(3)), Some(42)); // connect
        assert_eq!(native(102, || Some(20)), Some(307)); // sendmmsg
        assert_eq!(native(117, || Some(0x1_0015)), Some(30)); // shmat
        for first in [0, 21, 31, 32, u64::MAX] {
            assert_eq!(native(102, || Some(first)), None, "{first}");
        }
        assert_eq!(plain(102), None);
    }

    #[test]
    fn what_has_no_counterpart_has_none() {
        // break, vm86, and one that is not used
        for number in [17, 166, 222] {
            assert_eq!(plain(number), None, "{number}");
        }
    }
}
