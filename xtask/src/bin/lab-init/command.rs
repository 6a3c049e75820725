//! Runs the command, relays its output, reaps what it leaves behind.

use std::{
    fs::File,
    io::{self, ErrorKind, PipeReader, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags},
    sys::wait::{WaitStatus, waitpid},
    unistd::Pid,
};

use crate::{
    cgroup,
    ports::Control,
    request::{Report, Request},
};

/// What a process that the command left behind may still print, at the longest.
const STRAGGLERS: Duration = Duration::from_secs(2);
/// How long a pipe that is still open must be silent to count as drained.
const IDLE_MILLISECONDS: u8 = 50;

pub(crate) fn run(
    request: &Request,
    control: &Arc<Control>,
    stdout: File,
    mut stderr: File,
) -> Result<()> {
    let (out_reader, out_writer) = io::pipe()?;
    let (err_reader, err_writer) = io::pipe()?;
    let Some((program, arguments)) = request.argv.split_first() else {
        anyhow::bail!("no command");
    };
    let cwd = if request.cwd.is_dir() {
        request.cwd.as_path()
    } else {
        control.send(&Report::Note(format!(
            "{} is not visible in the guest: running in /",
            request.cwd.display()
        )))?;
        Path::new("/")
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(request.env.iter().cloned())
        .current_dir(cwd)
        .stdin(Stdio::null())
        .stdout(out_writer)
        .stderr(err_writer);
    let procs = cgroup::procs();
    // SAFETY: between fork and exec only setsid and write are called, both async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            Errno::result(libc::setsid())?;
            if let Some(procs) = &procs {
                Errno::result(libc::write(procs.as_raw_fd(), b"0".as_ptr().cast(), 1))?;
            }
            Ok(())
        });
    }
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            // As the shell has it.
            let status = if error.kind() == ErrorKind::NotFound {
                127
            } else {
                126
            };
            let text = format!("lab: {}: {error}\n", program.display());
            stderr.write_all(text.as_bytes())?;
            return control.send(&Report::Exit {
                status,
                stdout: 0,
                stderr: text.len() as u64,
            });
        }
    };
    // It holds the writing ends of the pipes, which would never report their end.
    drop(command);

    let ended = Arc::new(AtomicBool::new(false));
    let out = relay(out_reader, stdout, Arc::clone(&ended));
    let err = relay(err_reader, stderr, Arc::clone(&ended));
    let status = reap_until(Pid::from_raw(child.id().cast_signed()))?;
    ended.store(true, Ordering::Release);
    let count = |relay: thread::JoinHandle<io::Result<u64>>| {
        relay
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a relay panicked")))
            .context("relay the command's output")
    };
    control.send(&Report::Exit {
        status,
        stdout: count(out)?,
        stderr: count(err)?,
    })
}

/// Reaps every orphan of the guest until the command itself ended.
fn reap_until(child: Pid) -> Result<i32> {
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => return Ok(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(128 + signal as i32);
            }
            Ok(_) | Err(Errno::EINTR) => (),
            Err(errno) => return Err(errno).context("wait for the command"),
        }
    }
}

/// Copies until the end of the pipe or, once the command ended, until the pipe is silent: a daemon
/// that it started may hold it open for ever.
fn relay(
    mut from: PipeReader,
    mut to: File,
    ended: Arc<AtomicBool>,
) -> thread::JoinHandle<io::Result<u64>> {
    thread::spawn(move || {
        let mut buffer = vec![0; 32 << 10];
        let mut total = 0;
        let mut deadline = None;
        loop {
            let over = ended.load(Ordering::Acquire);
            if over && *deadline.get_or_insert(Instant::now() + STRAGGLERS) < Instant::now() {
                return Ok(total);
            }
            let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
            match nix::poll::poll(&mut fds, IDLE_MILLISECONDS) {
                Ok(0) if over => return Ok(total),
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => (),
                Err(errno) => return Err(errno.into()),
            }
            let count = from.read(&mut buffer)?;
            if count == 0 {
                return Ok(total);
            }
            to.write_all(&buffer[..count])?;
            total += count as u64;
        }
    })
}
