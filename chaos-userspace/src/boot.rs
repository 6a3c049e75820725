//! This boot of the machine: its identity, and the time in it.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_BOOTTIME` in nanoseconds, which goes on during suspend; programs see the same.
pub(crate) fn time_ns() -> u64 {
    // This clock can't fail: it is there since Linux 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(u64::MAX, |now| {
        u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX)
    })
}

/// The clock of the day at a moment of boot time, if nobody set it since.
pub(crate) fn time_of_day(since_boot: Duration) -> SystemTime {
    let now = SystemTime::now();
    let ago = Duration::from_nanos(time_ns()).saturating_sub(since_boot);
    // Years before 1970 are the clock's fault; an event must not fail for them.
    now.checked_sub(ago).unwrap_or(now)
}

/// Another one after each boot; empty where the kernel does not tell.
pub(crate) fn id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
