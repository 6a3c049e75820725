//! Signals that reach kchaos while a command runs.

use std::{
    io,
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::Sender,
    },
    thread,
};

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
        let wanted = heeded([SIGHUP, SIGINT, SIGQUIT, SIGTERM]);
        let mut signals = SignalsInfo::<WithOrigin>::new(wanted)?;
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

/// Those of these signals that are not ignored: whoever started kchaos with an ignored one, as nohup
/// does, wants it to stay so, for kchaos and for its command.
pub(crate) fn heeded(signals: impl IntoIterator<Item = i32>) -> Vec<i32> {
    signals
        .into_iter()
        .filter(|signal| !is_ignored(*signal))
        .collect()
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: all zeros is an action, to be overwritten; nothing is changed.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Whether kchaos has begun to ignore SIGXFSZ, which its command has not asked for.
static BEARS_LIMITS: AtomicBool = AtomicBool::new(false);

/// From now on a write beyond the limit of file sizes (`ulimit -f`) fails, instead of killing this
/// process while it holds faults.
pub(crate) fn bear_file_limits() {
    if !is_ignored(libc::SIGXFSZ) {
        // SAFETY: to ignore a signal calls nothing of ours.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        BEARS_LIMITS.store(true, Relaxed);
    }
}

/// What a child makes of it before its exec, so that the command has what kchaos was started with.
pub(super) fn forget_file_limits() {
    if BEARS_LIMITS.load(Relaxed) {
        // SAFETY: a plain system call.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_DFL) };
    }
}

/// Sends a signal to a child of ours that has not been waited for.
pub(super) fn send(pid: i32, signal: i32) {
    // SAFETY: takes two integers.
    if unsafe { libc::kill(pid, signal) } != 0 {
        tracing::debug!(pid, signal, "the command is gone already");
    }
}
