//! Datagrams that nobody sends again: the plainest measure of loss.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, UdpSocket},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use super::client::Clock;
use crate::run::account::Phase;

/// Between two datagrams to the same receiver.
const PERIOD: Duration = Duration::from_millis(5);
/// A receiver that is not scheduled for a while must not lose any: that would look like a fault.
const BUFFER: usize = 1 << 20;
/// How long after the last one to wait for more.
const QUIET: Duration = Duration::from_millis(200);

/// Datagrams by the phase that they were sent in.
pub(super) type Count = BTreeMap<Phase, u64>;

/// Sends to all ports until it is stopped.
#[derive(Debug)]
pub(super) struct Sender {
    clock: Arc<Clock>,
    thread: JoinHandle<io::Result<Count>>,
}

impl Sender {
    /// Starts it, in this process and its cgroup.
    pub(super) fn start(ports: Vec<u16>) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let clock = Arc::new(Clock::new());
        let shared = Arc::clone(&clock);
        let thread = thread::spawn(move || send(&socket, &ports, &shared));
        Ok(Self { clock, thread })
    }

    /// What is sent from now on belongs to this phase.
    pub(super) fn set(&self, phase: Phase) {
        self.clock.set(phase);
    }

    /// How many were sent to each port.
    pub(super) fn stop(self) -> Result<Count> {
        self.clock.stop();
        let sent = self.thread.join();
        sent.map_err(|_panic| anyhow!("the sender of datagrams panicked"))?
            .context("send datagrams")
    }
}

/// Each datagram is the phase that it was sent in, so that the receiver needs no clock.
fn send(socket: &UdpSocket, ports: &[u16], clock: &Clock) -> io::Result<Count> {
    let mut count = Count::new();
    let mut due = Instant::now();
    while let Some(phase) = clock.phase() {
        for port in ports {
            socket.send_to(&[phase.byte()], (Ipv4Addr::LOCALHOST, *port))?;
        }
        *count.entry(phase).or_default() += 1;
        due = (due + clock.stretched(PERIOD)).max(Instant::now());
        thread::sleep(due - Instant::now().min(due));
    }
    Ok(count)
}

/// A socket to receive on.
pub(super) fn socket(port: u16) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("bind to the UDP port {port}"))?;
    setsockopt(&socket, RcvBufForce, &BUFFER)?;
    socket.set_read_timeout(Some(QUIET))?;
    Ok(socket)
}

/// Receives until the clock has stopped and nothing comes any more.
pub(super) fn receive(socket: &UdpSocket, clock: &Clock) -> Count {
    let mut count = Count::new();
    let mut byte = [0];
    loop {
        match socket.recv(&mut byte) {
            Ok(1) => {
                if let Some(phase) = Phase::of(byte[0]) {
                    *count.entry(phase).or_default() += 1;
                }
            }
            Err(_) if clock.phase().is_none() => return count,
            Ok(_) | Err(_) => (),
        }
    }
}
