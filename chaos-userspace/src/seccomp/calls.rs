//! kchaos's side: arms rules, keeps a guard alive, and reads what came of it.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{board::Shared, guard};
use crate::{
    boot,
    engine::RuleSpec,
    guard::in_own_session,
    node::{Counters, Trail},
    state::Owner,
};

/// How long a guard may take to answer kchaos.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long kchaos rests when no guard can be started, as while the target has all pids.
const REST: Duration = Duration::from_millis(20);

/// A rule, and the numbers of the system calls that it is asked about.
pub(crate) type Spec = (RuleSpec, Vec<u32>);

/// Rules on the calls of one command. Dropping this ends them; who still has the filter runs on.
#[derive(Debug)]
pub(crate) struct Calls {
    post: Arc<Post>,
    keeper: Option<JoinHandle<()>>,
    lease: Duration,
    lapsed: bool,
}

/// What it takes to have a guard.
#[derive(Debug)]
struct Post {
    board: Shared,
    /// A copy: while it is open a call waits, and does not fail, when there is no guard.
    listener: OwnedFd,
    /// The guard that there is.
    guard: Mutex<Option<Guard>>,
}

#[derive(Debug)]
struct Guard {
    connection: UnixStream,
    owner: Owner,
}

impl Calls {
    /// Arms rules, in their order, on the calls of a child that waits before its exec. They have
    /// ended for good when kchaos has not been heard for as long as the lease.
    pub(crate) fn arm(
        specs: &[Spec],
        listener: OwnedFd,
        command: i32,
        lease: Duration,
    ) -> io::Result<Self> {
        proc_is_ours()?;
        let board = Shared::create(specs)?;
        board.command.store(command.unsigned_abs(), Relaxed);
        let post = Arc::new(Post {
            board,
            listener,
            guard: Mutex::new(None),
        });
        let mut calls = Self {
            post: Arc::clone(&post),
            keeper: None,
            lease,
            lapsed: false,
        };
        calls.raise();
        let guard = post.start()?;
        let keeper = thread::Builder::new().name("calls".to_owned());
        calls.keeper = Some(keeper.spawn(move || post.keep(guard))?);
        Ok(calls)
    }

    /// Says that kchaos lives, unless it has been silent for too long, and looks after the guard.
    pub(crate) fn beat(&mut self) {
        if let Some(guard) = &*self.post.guard() {
            guard.end_if_stopped();
        }
        self.lapsed |= boot::time_ns() >= self.post.board.held_until.load(Relaxed);
        if !self.lapsed {
            self.raise();
        }
    }

    fn raise(&self) {
        let lease = u64::try_from(self.lease.as_nanos()).unwrap_or(u64::MAX);
        let until = boot::time_ns().saturating_add(lease);
        self.post.board.held_until.store(until, Relaxed);
    }

    /// Whether kchaos was silent for too long.
    pub(crate) fn lapsed(&self) -> bool {
        self.lapsed
    }

    /// What became of a rule, by its place. To be asked when the rules have ended.
    pub(crate) fn evidence(&self, index: u32) -> (Counters, Trail) {
        let rule = self.post.board.rule(index);
        (rule.counters(), rule.trail())
    }

    /// Ends all rules. When this returns no call is failed any more, and all that were are counted.
    /// The guard stays for those who have the filter still.
    pub(crate) fn end(&mut self) {
        let Some(keeper) = self.keeper.take() else {
            return;
        };
        self.post.board.over.store(1, Relaxed);
        // A guard that was just killed has a successor soon, and nobody may be left without.
        while !keeper.is_finished() {
            match self.post.guard().as_mut().map(Guard::farewell) {
                // It stays, and is nobody's child when kchaos has ended.
                Some(Ok(guard::HERE)) => return,
                Some(Ok(_leaving)) => break,
                Some(Err(error)) => tracing::debug!(%error, "the guard of the calls is gone"),
                None => {}
            }
            self.beat();
            thread::sleep(REST);
        }
        if keeper.join().is_err() {
            tracing::debug!("the thread that keeps the guard was gone");
        }
    }
}

/// Callers are told by their numbers, and looked up in /proc: in that of another pid namespace these
/// are the numbers of others.
fn proc_is_ours() -> io::Result<()> {
    let this = std::fs::read_link("/proc/self").ok();
    if this.is_some_and(|link| link.as_os_str() == std::process::id().to_string().as_str()) {
        return Ok(());
    }
    Err(io::Error::other(
        "/proc is not that of this pid namespace: mount it there, as `unshare --mount-proc` does",
    ))
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.end();
    }
}

impl Post {
    fn guard(&self) -> MutexGuard<'_, Option<Guard>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a guard. When this returns it answers.
    fn start(&self) -> io::Result<Child> {
        let (mut connection, theirs) = UnixStream::pair()?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let inherited = [self.listener.as_raw_fd(), self.board.as_fd().as_raw_fd()];
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(guard::SUBCOMMAND)
            .args(inherited.map(|fd| fd.to_string()))
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: fcntl is a plain system call.
        unsafe {
            command.pre_exec(move || {
                for fd in inherited {
                    // Not to be closed by the exec.
                    if libc::fcntl(fd, libc::F_SETFD, 0) < 0 {
                        return Err(io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let mut child = in_own_session(&mut command).spawn()?;
        // The other end with it, so that the guard's end is seen.
        drop(command);
        if let Err(error) = connection.read_exact(&mut [0]) {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(error.kind(), "it ended before it answered"));
        }
        let owner = Owner::of(child.id());
        *self.guard() = Some(Guard { connection, owner });
        Ok(child)
    }

    /// Starts another guard whenever one was killed, until one ends by itself: nobody has the filter
    /// any more.
    fn keep(&self, mut guard: Child) {
        loop {
            match guard.wait() {
                Ok(status) if status.success() => return,
                Ok(_killed) => {}
                Err(error) => {
                    tracing::debug!(%error, "the guard of the calls can't be waited for");
                    return;
                }
            }
            tracing::debug!("the guard of the calls was killed: starting another one");
            guard = loop {
                match self.start() {
                    Ok(guard) => break guard,
                    Err(error) => {
                        tracing::debug!(%error, "no guard of the calls can be started");
                        thread::sleep(REST);
                    }
                }
            };
        }
    }
}

impl Guard {
    /// Has the guard end the rules, and waits until it has.
    fn farewell(&mut self) -> io::Result<u8> {
        let mut said = [0];
        // One that has heard it before does not listen any more, but may have answered meanwhile.
        self.connection.write_all(&[guard::END]).ok();
        self.connection.read_exact(&mut said)?;
        Ok(said[0])
    }

    /// One that is held, by SIGSTOP or a debugger, answers nobody: its successor does.
    fn end_if_stopped(&self) {
        if self.owner.is_stopped() {
            // SAFETY: takes two integers.
            unsafe { libc::kill(self.owner.pid.cast_signed(), libc::SIGKILL) };
        }
    }
}
