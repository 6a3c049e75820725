//! The guard's own program.

use std::{
    fs, io,
    os::fd::AsFd as _,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use caps::{CapSet, Capability, CapsHashSet};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{SigHandler, Signal, signal},
};

use super::{DISMISSAL, SUBCOMMAND, duty::View};
use crate::{
    boot, heal,
    journal::{Change, Patch},
    knob::{self, KnobError},
    lane,
    node::scratch::ScratchCgroup,
    state::{Owner, Role, StateDir},
    target::{CgroupTree, Process},
    vdso,
};

/// How long the journal's lock is waited for at a time.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// What can't be undone is tried so long once the owner is gone; then it is left to `kchaos heal`.
const GIVE_UP: Duration = Duration::from_mins(1);

/// Is the guard, if this process was started as one: for the first line of a program that may need
/// one.
pub fn main_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != SUBCOMMAND {
        return None;
    }
    super::name_this_process();
    let guard = (|| {
        let owner = arguments.next()?.to_str()?.parse().ok()?;
        let lease = arguments.next()?.to_str()?.parse().ok()?;
        Some(Watch {
            owner,
            lease: Duration::from_millis(lease),
            state: StateDir::at(PathBuf::from(arguments.next()?)),
        })
    })();
    // Whoever starts a guard by hand has no pipe to it, and is told by the status.
    let watched = guard.is_some_and(|guard| guard.watch().is_ok());
    Some(if watched {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Watch {
    owner: Owner,
    lease: Duration,
    state: StateDir,
}

impl Watch {
    fn watch(&self) -> io::Result<()> {
        ignore_signals();
        let tree = CgroupTree::find().map_err(io::Error::other)?;
        let _registered = self.state.register(Role::Guard)?;
        let _home = Home::make(&tree);
        drop_capabilities();
        let process = Process::open(self.owner.pid)
            .ok()
            .filter(|_| self.owner.is_alive());
        set_nonblocking()?;
        // From here on the owner may change things.
        io::Write::write_all(&mut io::stdout(), b"+")?;
        io::Write::flush(&mut io::stdout())?;
        self.guard(&tree, process.as_ref())
    }

    fn guard(&self, tree: &CgroupTree, process: Option<&Process>) -> io::Result<()> {
        let journal = self.state.journal();
        let mut heard = Instant::now();
        let mut gone_since: Option<Instant> = None;
        let mut dismissed = false;
        loop {
            match hear()? {
                Heard::Beat => heard = Instant::now(),
                Heard::Nothing => {}
                Heard::Dismissal => dismissed = true,
                Heard::End => {
                    gone_since.get_or_insert_with(Instant::now);
                }
            }
            if process.is_none_or(Process::gone) {
                gone_since.get_or_insert_with(Instant::now);
            }
            let view = View {
                now_ns: boot::time_ns(),
                owner: self.owner,
                gone: gone_since.is_some(),
                silent: heard.elapsed(),
                lease: self.lease,
                disabled: self.state.disabled().is_some(),
            };
            let contents = journal.read().unwrap_or_default();
            let live = contents.live;
            let mut left = 0;
            let patches = contents.patches.iter();
            let patches: Vec<&Patch> = patches.filter(|patch| view.is_due_patch(patch)).collect();
            for patch in &patches {
                left += usize::from(vdso::undo(&journal, patch, LOCK_PATIENCE).is_err());
            }
            if !patches.is_empty() && left == 0 {
                vdso::undo_orphans(self.owner);
            }
            for change in live.iter().filter(|change| view.is_due(change)) {
                left += usize::from(!self.undo(tree, change, &view, process));
            }
            // Last, because what waits in them may take a second.
            let lanes = contents.lanes.iter();
            for lane in lanes.filter(|lane| view.is_due_lane(lane)) {
                left += usize::from(lane::undo(&journal, lane, LOCK_PATIENCE).is_err());
            }
            // A process that ends closes its pipes before it is dead.
            let buried = dismissed || !self.owner.is_alive();
            if let Some(since) = gone_since
                && (left == 0 && buried || since.elapsed() > GIVE_UP)
            {
                if !self.owner.is_alive() {
                    // Its files, and its socket.
                    heal::sweep(tree, &self.state);
                }
                return Ok(());
            }
            wait(process, view.rest(&live), gone_since.is_some())?;
        }
    }

    /// Whether it was undone.
    fn undo(
        &self,
        tree: &CgroupTree,
        change: &Change,
        view: &View,
        process: Option<&Process>,
    ) -> bool {
        match knob::undo(&self.state.journal(), tree, change.id, LOCK_PATIENCE) {
            Ok(_) => true,
            Err(KnobError::Journal(_)) => {
                // Held in the middle of a write of its own: it would keep everybody out for ever.
                if view.is_held()
                    && let Some(process) = process
                {
                    process.signal(libc::SIGKILL).ok();
                }
                false
            }
            Err(_) => false,
        }
    }
}

enum Heard {
    Beat,
    Nothing,
    Dismissal,
    End,
}

fn hear() -> io::Result<Heard> {
    let mut bytes = [0; 64];
    let mut heard = Heard::Nothing;
    loop {
        match nix::unistd::read(io::stdin(), &mut bytes) {
            Ok(0) => return Ok(Heard::End),
            Ok(read) if bytes[..read].contains(&DISMISSAL) => return Ok(Heard::Dismissal),
            Ok(_) => heard = Heard::Beat,
            Err(nix::errno::Errno::EAGAIN) => return Ok(heard),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Sleeps until something happens, at the longest so long.
fn wait(process: Option<&Process>, rest: Duration, alone: bool) -> io::Result<()> {
    let timeout = u16::try_from(rest.as_millis().max(1)).unwrap_or(u16::MAX);
    let stdin = io::stdin();
    let mut fds = Vec::new();
    // Both are ready for ever once the owner is gone.
    if !alone {
        fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        fds.extend(process.map(|process| PollFd::new(process.as_fd(), PollFlags::POLLIN)));
    }
    match poll(&mut fds, PollTimeout::from(timeout)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// What ends whole groups of processes must not end the one that cleans up after them.
fn ignore_signals() {
    for ignored in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGPIPE,
    ] {
        // SAFETY: no handler is installed.
        unsafe { signal(ignored, SigHandler::SigIgn) }.ok();
    }
}

/// Keeps what writes other users' control files, ends other users' processes, writes to them, and takes devices out
/// of their network namespaces.
fn drop_capabilities() {
    let keep: CapsHashSet = [
        Capability::CAP_DAC_OVERRIDE,
        Capability::CAP_KILL,
        Capability::CAP_NET_ADMIN,
        Capability::CAP_SYS_ADMIN,
        Capability::CAP_SYS_PTRACE,
    ]
    .into_iter()
    .collect();
    for set in [CapSet::Effective, CapSet::Permitted] {
        if let Ok(have) = caps::read(None, set) {
            let less = have.intersection(&keep).copied().collect();
            if let Err(error) = caps::set(None, set, &less) {
                tracing::debug!(%error, ?set, "capabilities were not dropped");
            }
        }
    }
    for set in [CapSet::Inheritable, CapSet::Ambient] {
        caps::clear(None, set).ok();
    }
}

fn set_nonblocking() -> io::Result<()> {
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(io::stdin(), nix::fcntl::FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// A cgroup of the guard's own, out of the reach of what ends, freezes or limits its owner's.
struct Home {
    /// Where the guard was before, and goes back to, so that its own can be removed.
    before: PathBuf,
    root: PathBuf,
    cgroup: Option<ScratchCgroup>,
}

impl Home {
    /// Below the root of the tree; who may not write there stays where it is.
    fn make(tree: &CgroupTree) -> Option<Self> {
        let before = tree.folder(&tree.of("self")?);
        let cgroup = ScratchCgroup::make_below(tree, "/", "guard").ok()?;
        fs::write(cgroup.folder().join("cgroup.procs"), "0").ok()?;
        Some(Self {
            before,
            root: tree.folder("/"),
            cgroup: Some(cgroup),
        })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let moved = [&self.before, &self.root]
            .into_iter()
            .any(|folder| fs::write(folder.join("cgroup.procs"), "0").is_ok());
        if moved {
            drop(self.cgroup.take());
        }
    }
}
