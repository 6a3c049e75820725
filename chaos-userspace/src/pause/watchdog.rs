//! Kills this process when it does not do what it has to: nobody that it has stopped stays so.

use std::{io, time::Duration};

use nix::{
    sys::{
        signal::{SigEvent, SigevNotify, Signal},
        timer::{Expiration, Timer, TimerSetTimeFlags},
    },
    time::ClockId,
};

/// How much later than it should have come back this process is killed.
const PATIENCE: Duration = Duration::from_secs(1);

/// A timer in the kernel, which a process that is held, or frozen, does not hold.
#[derive(Debug)]
pub(crate) struct Watchdog(Timer);

impl Watchdog {
    pub(crate) fn new() -> io::Result<Self> {
        let kill = SigEvent::new(SigevNotify::SigevSignal {
            signal: Signal::SIGKILL,
            si_value: 0,
        });
        Ok(Self(Timer::new(ClockId::CLOCK_BOOTTIME, kill)?))
    }

    /// It is good if this is called again within so long.
    pub(crate) fn feed(&mut self, within: Duration) -> io::Result<()> {
        let due = Expiration::OneShot((within + PATIENCE).into());
        Ok(self.0.set(due, TimerSetTimeFlags::empty())?)
    }

    /// Nobody is stopped.
    pub(crate) fn rest(&mut self) -> io::Result<()> {
        // Zero is off.
        let off = Expiration::OneShot(Duration::ZERO.into());
        Ok(self.0.set(off, TimerSetTimeFlags::empty())?)
    }
}
