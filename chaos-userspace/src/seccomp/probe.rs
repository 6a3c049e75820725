//! Tries the mechanism out on a child of our own.

use std::{
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::Command,
    thread,
    time::Duration,
};

use libc::c_long;

use super::{
    entry::{Entry, Greeting},
    explain,
    notify::{Answer, Listener, poll},
};

/// An errno that none of these calls gives.
const ERRNO: i32 = libc::EBADE;

/// A value that it does not return.
const VALUE: i32 = 2_147_483_647;

/// Calls that do nothing, and can't fail: one is made to, one lies, the other goes on.
const FAILS: c_long = libc::SYS_getppid;
const LIES: c_long = libc::SYS_getuid;
const PASSES: c_long = libc::SYS_getpgrp;

/// What the child reports. Its exec never happens, so that the report travels as the error of the
/// spawn, out of any errno's way.
const HIT: i32 = 10_001;
const NOT_HIT: i32 = 10_002;

/// How long a call may take to be heard of.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a call of a child can be made to fail, one to return a value, and another one let go on.
pub(crate) fn probe() -> Result<(), String> {
    let failed = |error: io::Error| format!("self-test: {error}");
    let calls = [FAILS, LIES, PASSES].map(|call| u32::try_from(call).unwrap_or(0));
    let entry = Entry::new(&calls).map_err(failed)?;
    let (heard, ready) = UnixStream::pair().map_err(failed)?;
    let (wait, mut go) = io::pipe().map_err(failed)?;
    let own_go = go.as_raw_fd();
    let mut command = Command::new("/proc/self/exe");
    // SAFETY: between fork and exec the child only makes system calls on its own descriptors and
    // stack: nothing in there allocates or takes a lock.
    unsafe {
        command.pre_exec(move || {
            // With a copy of the writing end the pipe would never break.
            libc::close(own_go);
            entry.enter(ready.as_raw_fd(), wait.as_raw_fd());
            let hit = libc::syscall(FAILS) == -1 && *libc::__errno_location() == ERRNO;
            let lied = libc::syscall(LIES) == c_long::from(VALUE);
            // Zero is the group of somebody outside of this PID namespace.
            let passed = libc::syscall(PASSES) >= 0;
            let report = if hit && lied && passed { HIT } else { NOT_HIT };
            Err(io::Error::from_raw_os_error(report))
        });
    }
    let child = thread::Builder::new()
        .spawn(move || command.spawn())
        .map_err(failed)?;
    let answered = Greeting::receive(&heard)
        .map_err(failed)
        .and_then(|greeting| match greeting.entered {
            Ok(Some(listener)) => Ok(Listener::new(listener)),
            Ok(None) => Err("self-test: the filter has no listener".to_owned()),
            Err(error) => Err(explain(&error)),
        })
        .and_then(|listener| {
            go.write_all(&[1])
                .and_then(|()| answer(&listener))
                .map_err(failed)
        });
    // Whatever still waits goes on, or ends.
    drop(go);
    let Ok(spawned) = child.join() else {
        return Err("self-test: the child was lost".to_owned());
    };
    answered?;
    match spawned {
        Err(error) if error.raw_os_error() == Some(HIT) => Ok(()),
        Err(error) if error.raw_os_error() == Some(NOT_HIT) => {
            Err("self-test: the filter is in force, but the call was not hit".to_owned())
        }
        Err(error) => Err(failed(error)),
        Ok(mut child) => {
            // It has ended without a report.
            child.wait().ok();
            Err("self-test: the child ended".to_owned())
        }
    }
}

/// Answers all calls.
fn answer(listener: &Listener) -> io::Result<()> {
    for _ in 0..3 {
        let [calls] = poll([listener.as_fd().as_raw_fd()], Some(PATIENCE))?;
        if calls & libc::POLLIN == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // SAFETY: all zeros is what the kernel wants to find.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: a place of our own.
        unsafe { listener.receive(&raw mut call) }?;
        let answer = match c_long::from(call.data.nr) {
            FAILS => Answer::Fail(ERRNO.unsigned_abs()),
            LIES => Answer::Return(VALUE.unsigned_abs()),
            _ => Answer::GoOn,
        };
        listener.answer(call.id, answer)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_works_wherever_tests_run() {
        assert_eq!(super::probe(), Ok(()));
    }
}
