//! A process of ours that finds the processes of a target, and patches and restores them.
//!
//! It is one of its own, because who traces a child of its own takes that child's news from whoever
//! waits for it; and because what it holds must go on when it ends, however that happens. It ends
//! when its owner does, and puts everything back before.

mod message;
mod process;
mod tended;

use std::{
    io::{self, BufReader},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use message::{Answer, Order, receive, send};
pub(crate) use message::{Pulse, Rule, Tended, Whom};
pub use process::main_if_asked;

use super::{undo, undo_orphans};
use crate::{guard::in_own_session, node::Settings, state::Owner};

/// The first argument of a program of ours that shall be a tender.
const SUBCOMMAND: &str = "clock-tender";

/// How often the tender hears from its owner.
const BEAT: Duration = Duration::from_millis(250);

/// How long it may take to answer: a thousand processes take a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the journal's lock is waited for, for each process that a dead one has left.
const UNDO_PATIENCE: Duration = Duration::from_millis(500);

/// Why clocks are not bent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TenderError {
    /// Not these, not here.
    #[error("{0}")]
    Unsupported(String),
    /// There is no process that does it.
    #[error("no process that bends clocks: {0}")]
    Lost(#[from] io::Error),
}

/// The clocks that this process bends. Dropping it has all of them true again.
#[derive(Debug)]
pub(crate) struct Clocks {
    settings: Settings,
    tender: Option<Tender>,
}

impl Clocks {
    /// Bends nothing yet, and starts nothing.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            tender: None,
        }
    }

    /// Starts the tender, if there is none, or it has died.
    ///
    /// # Errors
    /// [`TenderError::Lost`]
    pub(crate) fn start(&mut self) -> Result<(), TenderError> {
        self.bury();
        if self.tender.is_none() {
            self.tender = Some(Tender::start(&self.settings)?);
        }
        Ok(())
    }

    /// Bends clocks. When this returns, those of everybody who is there are, or will be when the rule
    /// is due.
    ///
    /// # Errors
    /// See [`TenderError`]; nobody is touched then.
    pub(crate) fn bend(&mut self, rule: Rule) -> Result<Tended, TenderError> {
        self.start()?;
        let bent = self.state(&Order::Bend(Box::new(rule)));
        if matches!(bent, Err(TenderError::Lost(_))) {
            self.bury();
        }
        bent
    }

    /// Puts back what a tender has left that has died: another one would take its processes for those of
    /// another kchaos. Its rules have ended with it, as with a lease.
    pub(crate) fn bury(&mut self) {
        let how = |tender: &mut Tender| tender.child.try_wait().ok().flatten();
        let Some(how) = self.tender.as_mut().and_then(how) else {
            return;
        };
        tracing::warn!(%how, "the process that bends clocks has died");
        self.tender = None;
        let journal = self.settings.state.journal();
        let patches = journal.read().unwrap_or_default().patches;
        for patch in patches.iter().filter(|it| it.owner() == Owner::this()) {
            if let Err(error) = undo(&journal, patch, UNDO_PATIENCE) {
                tracing::warn!(%error, "goes on by way of the stub, which bends nothing");
            }
        }
        undo_orphans(Owner::this());
    }

    /// How it goes.
    pub(crate) fn look(&self, id: u64) -> Result<Tended, TenderError> {
        self.state(&Order::Look(id))
    }

    /// Has the clocks true again that only this rule bends, and says how it went.
    pub(crate) fn end(&self, id: u64) -> Result<Tended, TenderError> {
        self.state(&Order::End(id))
    }

    fn state(&self, order: &Order) -> Result<Tended, TenderError> {
        let gone = || io::Error::other("it was never started");
        match self.tender.as_ref().ok_or_else(gone)?.ask(order)? {
            Answer::State(state) => Ok(state),
            Answer::Refused(why) => Err(TenderError::Unsupported(why)),
        }
    }
}

/// A running tender, seen from its owner.
#[derive(Debug)]
struct Tender {
    child: Child,
    connection: Arc<Mutex<UnixStream>>,
    /// The keeper ends when this is dropped.
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl Tender {
    fn start(settings: &Settings) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(SUBCOMMAND)
            .arg(Owner::this().to_string())
            .arg(settings.lease.as_millis().to_string())
            .arg(settings.state.path())
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null());
        let child = in_own_session(&mut command).spawn()?;
        let connection = Arc::new(Mutex::new(ours));
        let (stop, stopped) = mpsc::channel();
        let heart = Arc::clone(&connection);
        let keeper = thread::Builder::new()
            .name("clock-keeper".to_owned())
            .spawn(move || {
                use mpsc::RecvTimeoutError::Timeout;
                while matches!(stopped.recv_timeout(BEAT), Err(Timeout)) {
                    // Who asks it something is heard as well.
                    if let Ok(connection) = heart.try_lock()
                        && send(&*connection, &Order::Beat).is_err()
                    {
                        return;
                    }
                }
            })?;
        Ok(Self {
            child,
            connection,
            stop: Some(stop),
            keeper: Some(keeper),
        })
    }

    fn ask(&self, order: &Order) -> io::Result<Answer> {
        let connection = self.connection();
        send(&*connection, order)?;
        receive(&mut BufReader::new(&*connection))?.ok_or_else(|| io::Error::other("it has ended"))
    }

    fn connection(&self) -> MutexGuard<'_, UnixStream> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tender {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            tracing::error!("the keeper of clocks failed");
        }
        // It puts everything back, and ends.
        if let Err(error) = self.connection().shutdown(std::net::Shutdown::Both) {
            tracing::debug!(%error, "the tender of clocks was gone already");
        }
        if let Err(error) = self.child.wait() {
            tracing::debug!(%error, "the tender of clocks was gone already");
        }
    }
}
