//! The client of one server: a process of its own, in the server's cgroup. It is told phases by
//! one byte each on standard input, stops at its end, and prints what it saw.

use std::{
    io::{self, Read as _, Write as _},
    sync::atomic::{AtomicU8, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};

use super::{datagrams, http};
use crate::run::account::Phase;

/// How many times slower everything goes while the agent arms. Under emulation it would otherwise
/// wait seconds for processors that are busy with requests that nobody looks at.
const SLOWER: u32 = 8;
/// Printed once datagrams can be received.
pub(super) const READY: &str = "ready";

/// Tells threads which phase it is, and when to stop.
#[derive(Debug)]
pub(super) struct Clock(AtomicU8);

impl Clock {
    const STOPPED: u8 = u8::MAX;

    /// One that begins with the warm-up.
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(Phase::Warmup.byte()))
    }

    /// A phase begins.
    pub(super) fn set(&self, phase: Phase) {
        self.0.store(phase.byte(), Ordering::Relaxed);
    }

    /// Everything stops.
    pub(super) fn stop(&self) {
        self.0.store(Self::STOPPED, Ordering::Relaxed);
    }

    /// How long to wait now where it is usually `period`.
    pub(super) fn stretched(&self, period: Duration) -> Duration {
        match self.phase() {
            Some(Phase::Arming) => period * SLOWER,
            _ => period,
        }
    }

    /// The phase that it is, unless everything stops.
    pub(super) fn phase(&self) -> Option<Phase> {
        Phase::of(self.0.load(Ordering::Relaxed))
    }
}

/// Runs the subcommand.
pub(super) fn main(http_port: u16, datagram_port: u16) -> Result<()> {
    let clock = Clock::new();
    let socket = datagrams::socket(datagram_port)?;
    let mut out = io::stdout();
    writeln!(out, "{READY}")?;
    out.flush()?;
    let (mut phases, received) = thread::scope(|scope| {
        let requests = scope.spawn(|| http::load(&clock, http_port));
        let received = scope.spawn(|| datagrams::receive(&socket, &clock));
        let followed = follow(&clock);
        clock.stop();
        followed?;
        let requests = requests
            .join()
            .map_err(|_panic| anyhow!("requests panicked"))?;
        let received = received
            .join()
            .map_err(|_panic| anyhow!("receiver panicked"))?;
        anyhow::Ok((requests, received))
    })?;
    for (phase, count) in received {
        phases.entry(phase).or_default().received = count;
    }
    serde_json::to_writer(&mut out, &phases)?;
    Ok(out.flush()?)
}

fn follow(clock: &Clock) -> Result<()> {
    for byte in io::stdin().lock().bytes() {
        if let Some(phase) = Phase::of(byte?) {
            clock.set(phase);
        }
    }
    Ok(())
}
