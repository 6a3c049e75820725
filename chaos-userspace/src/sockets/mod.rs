//! `net.reset`: connections of a target are ended, at the start of the fault and of each pulse.
//!
//! The kernel does it (`SOCK_DESTROY`), and whoever asks has `CAP_NET_ADMIN`. Nothing is changed that
//! somebody would have to undo, and nothing happens that this process does not do.

mod diag;
mod rule;
mod targets;

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use chaos_common::{Address, CallFacts, Protocol, part};

pub(crate) use self::targets::Targets;
use self::{
    diag::{Connection, Destroyed, Diag},
    rule::{Event, Rule},
    targets::OwnConnection,
};
use crate::{
    boot,
    engine::RuleSpec,
    node::{Counters, Flow, Trail},
};

/// What this process holds. Dropping it ends all of it.
#[derive(Debug, Default)]
pub(crate) struct Resets {
    held: HashMap<u64, Held>,
    next: u64,
}

#[derive(Debug)]
struct Held {
    reset: Arc<Reset>,
    /// Once it was started.
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

/// One fault.
#[derive(Debug)]
struct Reset {
    targets: Targets,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rule: Rule,
    ended: Option<String>,
}

/// What came of a fault so far.
#[derive(Debug, Default)]
pub(crate) struct ResetStatus {
    pub(crate) counters: Counters,
    pub(crate) trail: Trail,
    /// Why it can hit nothing any more.
    pub(crate) ended: Option<String>,
}

impl Resets {
    /// Prepares a fault, which does nothing yet.
    ///
    /// # Errors
    /// Why the connections of its target can't be reached, in words for people.
    pub(crate) fn add(&mut self, targets: Targets, spec: RuleSpec) -> Result<u64, String> {
        let found = targets.find();
        if let Some(reason) = found.hidden {
            return Err(reason);
        }
        for namespace in found.namespaces {
            namespace.visit(|| Diag::open().map(drop))?;
        }
        self.next += 1;
        let state = Mutex::new(State {
            rule: Rule::new(spec),
            ended: None,
        });
        let held = Held {
            reset: Arc::new(Reset { targets, state }),
            thread: None,
        };
        self.held.insert(self.next, held);
        Ok(self.next)
    }

    /// From now on it does what it is for, when it is due.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start(&mut self, id: u64) -> io::Result<()> {
        let Some(held) = self.held.get_mut(&id) else {
            return Ok(());
        };
        let (stop, stopped) = mpsc::channel();
        let reset = Arc::clone(&held.reset);
        let thread = thread::Builder::new()
            .name("resets".to_owned())
            .spawn(move || {
                let mut fired = None;
                while let Some((phase, due_ns)) = reset.next(fired) {
                    let wait = Duration::from_nanos(due_ns.saturating_sub(boot::time_ns()));
                    match stopped.recv_timeout(wait) {
                        Err(RecvTimeoutError::Timeout) => {}
                        _ => return,
                    }
                    reset.fire();
                    fired = Some(phase);
                }
            })?;
        held.thread = Some((stop, thread));
        Ok(())
    }

    /// How it goes.
    pub(crate) fn status(&self, id: u64) -> ResetStatus {
        self.held
            .get(&id)
            .map_or_else(ResetStatus::default, |held| {
                let state = held.reset.state();
                ResetStatus {
                    counters: state.rule.counters(),
                    trail: state.rule.trail(),
                    ended: state.ended.clone(),
                }
            })
    }

    /// Nothing of it happens after this has returned; what it came to is kept until it is removed.
    pub(crate) fn stop(&mut self, id: u64) {
        if let Some(held) = self.held.get_mut(&id) {
            held.stop();
        }
    }

    /// Forgets it.
    pub(crate) fn remove(&mut self, id: u64) {
        self.held.remove(&id);
    }
}

impl Held {
    fn stop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the thread that ends connections has panicked");
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Reset {
    fn state(&self) -> MutexGuard<'_, State> {
        // Counters are whole after each step, whatever became of who counted.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next phase that is due, and when, in boot time; `None` after the deadline. A pulse that has
    /// passed unseen is not made up for.
    fn next(&self, fired: Option<u64>) -> Option<(u64, u64)> {
        let config = *self.state().rule.config();
        let now = boot::time_ns();
        let due = due(&config, now, fired)?;
        (due.1 < config.deadline_ns && now < config.deadline_ns).then_some(due)
    }

    /// Ends what is to be ended now.
    fn fire(&self) {
        let found = self.targets.find();
        if found.hidden.is_some() {
            self.state().ended.clone_from(&found.hidden);
        }
        for namespace in &found.namespaces {
            let result = namespace.visit(|| {
                let mut diag = Diag::open()?;
                let mut connections = diag.connections()?;
                connections.retain(|one| one.cgroup.is_some_and(|id| found.cgroups.contains(&id)));
                // The kernel's order is that of its hashes, which no seed could repeat.
                connections.sort_by_key(|one| (one.local, one.peer));
                for connection in &connections {
                    self.ask(&mut diag, connection);
                }
                Ok(())
            });
            if let Err(reason) = result {
                tracing::warn!(reason, "connections are left as they are");
                self.state().ended = Some(reason);
            }
        }
    }

    fn ask(&self, diag: &mut Diag, connection: &Connection) {
        let (local, peer) = (connection.local, connection.peer);
        let event = Event {
            cgroup: connection.cgroup.unwrap_or(0),
            flow: Flow {
                protocol: Protocol::Tcp as u8,
                source: local.ip(),
                destination: peer.ip(),
                ports: Some((local.port(), peer.port())),
            },
            facts: CallFacts {
                known: part::PEER | part::PORT | part::LOCAL_PORT,
                peer: address(peer.ip()),
                port: peer.port().into(),
                local_port: local.port().into(),
                ..CallFacts::default()
            },
        };
        let state = &mut *self.state();
        let State { rule, ended } = state;
        rule.ask(boot::time_ns(), &event, || match diag.destroy(connection) {
            Ok(destroyed) => Some(destroyed == Destroyed::Now),
            Err(error) => {
                *ended = Some(format!("a connection could not be ended: {error}"));
                None
            }
        });
    }
}

/// [`Reset::next`], whatever the deadline is.
fn due(config: &chaos_common::RuleConfig, now: u64, fired: Option<u64>) -> Option<(u64, u64)> {
    let (start, every) = (config.start_ns, config.pulse_every_ns);
    if every == 0 {
        return fired.is_none().then_some((0, start));
    }
    let since = now.saturating_sub(start);
    let now_in = since / every;
    let is_active = since % every < config.pulse_active_ns;
    let phase = match fired {
        Some(fired) if fired >= now_in => fired + 1,
        _ if is_active => now_in,
        _ => now_in + 1,
    };
    Some((phase, start.saturating_add(phase.saturating_mul(every))))
}

/// As filters know it.
fn address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => Address::ipv4(u32::from_ne_bytes(v4.octets())),
        IpAddr::V6(v6) => {
            let bytes = v6.octets();
            let (words, _rest) = bytes.as_chunks();
            let word = |index: usize| words.get(index).map_or(0, |word| u64::from_ne_bytes(*word));
            Address::ipv6([word(0), word(1)])
        }
    }
}

/// Tries it out on nobody's connection.
///
/// # Errors
/// What this kernel lacks.
pub(crate) fn probe() -> Result<(), String> {
    let mut diag = Diag::open().map_err(|error| explain(&error))?;
    diag.can_destroy().map_err(|error| explain(&error))?;
    let own = OwnConnection::make()?;
    let found = diag.connections().map_err(|error| explain(&error))?;
    let Some(own) = own else {
        // Without a loopback there is none to be looked at.
        return Ok(());
    };
    match found.iter().find(|one| one.local == own.local) {
        None => Err("the kernel does not list a connection that there is (sock_diag)".to_owned()),
        Some(one) if one.cgroup.is_none() => Err(
            "the kernel does not tell whose a connection is: it needs Linux 5.9 and \
             CONFIG_SOCK_CGROUP_DATA"
                .to_owned(),
        ),
        Some(one) => match diag.destroy(one) {
            Ok(Destroyed::Now) => Ok(()),
            Ok(Destroyed::Before) => Err("self-test: a connection was not ended".to_owned()),
            Err(error) => Err(explain(&error)),
        },
    }
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => {
            "this kernel ends no connections: it needs CONFIG_INET_DIAG_DESTROY".to_owned()
        }
        Some(libc::ENOENT | libc::EPROTONOSUPPORT | libc::EINVAL) => format!(
            "this kernel does not list connections (CONFIG_INET_DIAG, CONFIG_INET_TCP_DIAG; as modules \
             inet_diag and tcp_diag): {error}"
        ),
        Some(libc::EPERM) => format!("ending connections needs CAP_NET_ADMIN: {error}"),
        _ => format!("sock_diag: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use chaos_common::RuleConfig;

    use super::*;

    #[test]
    fn it_is_due_at_the_start_and_at_each_pulse_that_is_seen() {
        let once = RuleConfig {
            start_ns: 100,
            ..RuleConfig::ALWAYS
        };
        assert_eq!(due(&once, 7, None), Some((0, 100)));
        assert_eq!(due(&once, 700, None), Some((0, 100)));
        assert_eq!(due(&once, 700, Some(0)), None);
        let pulses = RuleConfig {
            pulse_active_ns: 10,
            pulse_every_ns: 50,
            ..once
        };
        assert_eq!(due(&pulses, 7, None), Some((0, 100)));
        assert_eq!(due(&pulses, 101, Some(0)), Some((1, 150)));
        // Late, but in time.
        assert_eq!(due(&pulses, 155, Some(0)), Some((1, 150)));
        // Too late for the second one, and for the third.
        assert_eq!(due(&pulses, 165, Some(0)), Some((2, 200)));
        assert_eq!(due(&pulses, 215, Some(0)), Some((3, 250)));
    }
}
