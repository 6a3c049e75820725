//! Signals that reach kchaos while a command runs.

use std::{io, sync::mpsc::Sender, thread};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::{Handle, SignalsInfo, exfiltrator::WithOrigin},
    low_level::siginfo::Cause,
};

use super::Event;

/// A signal and where it came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    pub(super) signal: i32,
    /// Sent by the kernel to the whole foreground group, so the command has it already.
    pub(super) from_terminal: bool,
}

/// Catches signals until it is dropped.
#[derive(Debug)]
pub(super) struct Signals(Handle);

impl Signals {
    pub(super) fn catch(events: Sender<Event>) -> io::Result<Self> {
        let mut signals = SignalsInfo::<WithOrigin>::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
        let handle = signals.handle();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for origin in signals.forever() {
                    let came = Came {
                        signal: origin.signal,
                        from_terminal: origin.cause == Cause::Kernel,
                    };
                    if events.send(Event::Signal(came)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self(handle))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Sends a signal to a child of ours that has not been waited for.
pub(super) fn send(pid: i32, signal: i32) {
    // SAFETY: takes two integers.
    if unsafe { libc::kill(pid, signal) } != 0 {
        tracing::debug!(pid, signal, "the command is gone already");
    }
}
