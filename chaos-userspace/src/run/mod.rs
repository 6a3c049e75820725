//! `kchaos run`: a command with faults that are armed before its first instruction and gone after its
//! last one. It gets a cgroup of its own for those that the node does, and a seccomp filter for those
//! that no BPF program does here; with only these, nothing else is needed.

mod armed;
mod exec;
pub mod guard;
mod held;
pub(crate) mod signals;
mod split;

use std::{
    ffi::OsString,
    io,
    process::ExitStatus,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

pub use held::StartError;

use self::{
    armed::{Armed, Waiting},
    guard::Guard,
    held::{Ended, Held},
    signals::{Came, Signals},
    split::Split,
};
use crate::{
    experiment::{Experiment, MAX_DURATION, Mechanism, Target},
    node::{FaultStatus, NodeError, Plan, PlanStatus, Settings, scratch::ScratchCgroup},
    seccomp::{self, Entry, Greeting},
    state::{FORBIDDEN, Role},
    support,
    target::CgroupTree,
};

/// The life of a command has no known end, but every rule has one: the longest that there is.
const COMMANDS_LIFE: Duration = MAX_DURATION;

/// How often it is looked whether faults are still allowed.
const LOOK: Duration = Duration::from_millis(250);

/// What to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Program and arguments; at least one.
    pub command: Vec<OsString>,
    /// Validated for a run; faults without a target hit the command.
    pub experiment: Experiment,
    /// The command is killed after this.
    pub timeout: Option<Duration>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// How the command ended.
    pub status: ExitStatus,
    /// Whether the time was up.
    pub timed_out: bool,
    /// The last counters.
    pub evidence: PlanStatus,
    /// What the faults took from the command beside what they did to it, to be said aloud.
    pub notice: Option<&'static str>,
}

/// Why nothing was run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Faults could not be armed; the command never started.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The command could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The command could not be started, because a fault hit its exec.
    #[error("{source}")]
    Hit {
        /// What its exec said.
        source: StartError,
        /// The last counters.
        evidence: PlanStatus,
    },
    /// A signal came before the command had started.
    #[error("ended by signal {0} before the command started")]
    Interrupted(i32),
    /// The machine refused something else; the command never started, or has been killed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

enum Event {
    Ended(Ended),
    Signal(Came),
}

/// Runs a command under faults. When this returns nothing of it is left but what the command itself
/// detached.
///
/// # Errors
/// See [`RunError`].
pub fn run(request: Request) -> Result<Outcome, RunError> {
    let io = |what| move |source| RunError::Io { what, source };
    let split = Split::of(request.experiment)?;
    if let Some(rest) = split.rest() {
        check_privileges(&rest)?;
    }
    let errand = Errand {
        command: request.command,
        timeout: request.timeout,
        needs_node: split.rest().is_some(),
        split,
        settings: Settings::default(),
    };
    let (events, inbox) = mpsc::channel();
    let signals = Signals::catch(events.clone()).map_err(io("catch signals"))?;
    if !errand.needs_node {
        // So that `kchaos stop --all` finds it; where it can't be written there is nobody to do that.
        let _registered = errand
            .settings
            .state
            .register(Role::Run)
            .inspect_err(|error| tracing::debug!(%error, "not registered"));
        let result = errand.run(None, events, &inbox);
        drop(signals);
        return result;
    }
    let state = &errand.settings.state;
    let tree = CgroupTree::find().map_err(NodeError::from)?;
    let cgroup = ScratchCgroup::planned(&tree, &tree.of("self").unwrap_or_default(), "run");
    // Before there is anything to clean up: this process may be killed at any moment.
    let guard = Guard::start(cgroup.folder()).map_err(io("start the guard"))?;
    let registered = state
        .register(Role::Run)
        .map_err(io("register this process"))?;
    crate::heal::sweep(&tree, state);
    cgroup.create().map_err(|error| {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return io("make a cgroup")(error);
        }
        NodeError::Unsupported(format!(
            "{error}: run as root, give kchaos CAP_DAC_OVERRIDE, or run it in a cgroup that is this \
             user's (systemd-run --user --scope -p Delegate=yes)"
        ))
        .into()
    })?;
    let result = errand.run(Some(&cgroup), events, &inbox);
    drop(signals);
    if let Err(error) = guard::evacuate(cgroup.folder()) {
        tracing::warn!(%error, "processes could not be moved out of the command's cgroup");
    }
    drop(cgroup);
    drop(registered);
    drop(guard);
    result
}

/// A request, looked at.
struct Errand {
    command: Vec<OsString>,
    timeout: Option<Duration>,
    needs_node: bool,
    split: Split,
    settings: Settings,
}

impl Errand {
    fn run(
        self,
        cgroup: Option<&ScratchCgroup>,
        events: mpsc::Sender<Event>,
        inbox: &mpsc::Receiver<Event>,
    ) -> Result<Outcome, RunError> {
        let io = |what| move |source| RunError::Io { what, source };
        let state = self.settings.state.clone();
        let numbers = self.split.numbers();
        let entry = if numbers.is_empty() {
            None
        } else {
            Some(Entry::new(&numbers).map_err(io("make a seccomp filter"))?)
        };
        // Forked before anything is loaded, so that the child holds no BPF descriptor.
        let (held, greeting) = match Held::start(&self.command, cgroup, entry, events) {
            Ok(held) => held,
            // The child's own reason says more.
            Err(source) => match inbox.recv_timeout(Duration::from_secs(1)) {
                Ok(Event::Ended(ended)) => return Err(ended.error().into()),
                _ => return Err(io("start the command")(source)),
            },
        };
        let program = self
            .command
            .first()
            .map(|program| program.to_string_lossy());
        let has_alternative = self.split.has_alternative();
        let armed =
            waiting(greeting, program.unwrap_or_default().into_owned()).and_then(|waiting| {
                let cgroup = cgroup.map(ScratchCgroup::path);
                Armed::arm(self.split, self.settings, cgroup, waiting)
            });
        let early = inbox.try_recv();
        let mut armed = match (armed, early) {
            (Ok(armed), Err(_)) => armed,
            (armed, early) => {
                held.abandon(inbox);
                armed.map_err(|error| with_alternative(error, has_alternative))?;
                return match early {
                    Ok(Event::Signal(came)) => Err(RunError::Interrupted(came.signal)),
                    Ok(Event::Ended(ended)) => Err(ended.error().into()),
                    Err(_) => Err(RunError::Interrupted(0)),
                };
            }
        };
        let pid = held.release().map_err(io("start the command"))?;
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        let mut forbidden = None;
        let (ended, timed_out) = wait(inbox, pid, deadline, || {
            armed.tend();
            if forbidden.is_none() && state.disabled().is_some() {
                forbidden = Some(armed.stop().map(ended_by_the_switch));
            }
        });
        let evidence = forbidden.unwrap_or_else(|| armed.stop())?;
        let status = match ended.into_result() {
            Ok(status) => status,
            Err(source) if evidence.faults.iter().any(|it| it.counters.injected > 0) => {
                return Err(RunError::Hit { source, evidence });
            }
            Err(source) => return Err(source.into()),
        };
        Ok(Outcome {
            status,
            timed_out,
            evidence,
            notice: armed.notice(),
        })
    }
}

/// Says of faults that were alive why they are not any more.
fn ended_by_the_switch(mut evidence: PlanStatus) -> PlanStatus {
    let alive = |fault: &&mut FaultStatus| !fault.remaining.is_zero();
    for fault in evidence.faults.iter_mut().filter(alive) {
        fault.ended.get_or_insert_with(|| FORBIDDEN.to_owned());
    }
    evidence
}

/// A node knows nothing of filters, so that what it says would work here lacks them.
fn with_alternative(error: NodeError, has_alternative: bool) -> NodeError {
    match error {
        NodeError::Unsupported(mut text) if has_alternative && seccomp::probe().is_ok() => {
            text.push_str("\n  for COMMAND would work here: mechanism=");
            text.push_str(Mechanism::SeccompNotify.name());
            NodeError::Unsupported(text)
        }
        error => error,
    }
}

fn waiting(greeting: Greeting, program: String) -> Result<Waiting, NodeError> {
    Ok(Waiting {
        pid: greeting.pid,
        program,
        listener: greeting.entered.map_err(|error| {
            let reason = seccomp::explain(&error);
            NodeError::Unsupported(format!("{}: {reason}", Mechanism::SeccompNotify))
        })?,
        no_new_privs: greeting.no_new_privs,
    })
}

/// Waits for the command's end, passing signals on to it. When time is up it is killed. Meanwhile
/// the machine is looked at now and then.
fn wait(
    inbox: &mpsc::Receiver<Event>,
    pid: i32,
    deadline: Option<Instant>,
    mut meanwhile: impl FnMut(),
) -> (Ended, bool) {
    let mut timed_out = false;
    loop {
        let left = match deadline {
            Some(deadline) if !timed_out => deadline.saturating_duration_since(Instant::now()),
            _ => COMMANDS_LIFE,
        };
        meanwhile();
        match inbox.recv_timeout(left.min(LOOK)) {
            Ok(Event::Ended(ended)) => return (ended, timed_out),
            // What a terminal sends, it sends to the command as well.
            // But the end of the terminal itself it tells only the leader of the session.
            Ok(Event::Signal(came)) if came.from_terminal && came.signal != libc::SIGHUP => {}
            Ok(Event::Signal(came)) => signals::send(pid, came.signal),
            Err(RecvTimeoutError::Timeout) if left > LOOK => {}
            Err(RecvTimeoutError::Timeout) => {
                timed_out = true;
                signals::send(pid, libc::SIGKILL);
            }
            Err(RecvTimeoutError::Disconnected) => return (Ended::lost(), timed_out),
        }
    }
}

fn plan(mut experiment: Experiment, cgroup: &str) -> Plan {
    let own = || Target::Cgroup(cgroup.to_owned());
    experiment.duration = experiment.duration.or(Some(COMMANDS_LIFE));
    if !matches!(
        experiment.target,
        Some(Target::Cgroup(_) | Target::Cgroups(_) | Target::Unit(_) | Target::Pid(_))
    ) {
        experiment.target = Some(own());
    }
    for fault in &mut experiment.faults {
        if matches!(fault.target, Some(Target::Command(_))) {
            fault.target = Some(own());
        }
    }
    Plan {
        id: armed::PLAN.to_owned(),
        experiment,
    }
}

/// Says what is missing before anything is made.
fn check_privileges(experiment: &Experiment) -> Result<(), NodeError> {
    for fault in &experiment.faults {
        let ladder = crate::fault::ladder(&fault.kind);
        let lacking: Vec<_> = ladder
            .iter()
            .filter(|rung| fault.common.mechanism.is_none_or(|asked| asked == **rung))
            // Not of the faults that are left to the node.
            .filter(|rung| **rung != Mechanism::SeccompNotify)
            .map(|rung| support::missing_capabilities(*rung))
            .collect();
        if let Some(first) = lacking.iter().min_by_key(|missing| missing.len())
            && !first.is_empty()
        {
            let names: Vec<&str> = first.iter().map(|capability| capability.name()).collect();
            return Err(NodeError::Unsupported(format!(
                "{} needs {}, which this process lacks: run as root, or give kchaos these \
                 capabilities",
                fault.kind.name(),
                names.join(" and ")
            )));
        }
    }
    Ok(())
}
