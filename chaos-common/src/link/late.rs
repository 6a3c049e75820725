//! How late packets come off their link, after the time that they were due: counted in the kernel by
//! powers of two, which is all that is kept of it.

/// Counters of all links of a process: the first is of less than a microsecond, each next one of up to twice as much,
/// and the last of 18 minutes and everything beyond.
pub const PLACES: u32 = 32;

/// The counter of a packet that was late by so many nanoseconds.
pub const fn place(late_ns: u64) -> u32 {
    let place = u64::BITS - (late_ns / 1000).leading_zeros();
    if place < PLACES { place } else { PLACES - 1 }
}

/// Microseconds that packets of a counter were late by at most.
pub const fn most_us(place: u32) -> u64 {
    1 << place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_of_twice_as_much() {
        let cases = [
            (0, 0),
            (999, 0),
            (1000, 1),
            (1999, 1),
            (2000, 2),
            (1_000_000, 10),
            (u64::MAX, 31),
        ];
        for (late_ns, expected) in cases {
            assert_eq!(place(late_ns), expected, "{late_ns}");
            if expected < 31 {
                assert!(late_ns < most_us(expected) * 1000);
            }
        }
    }
}
