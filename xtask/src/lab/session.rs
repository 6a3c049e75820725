//! Follows one boot from power-on to its end.

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

pub(crate) use super::console::Illness;
use super::{console, qemu::Running, request::Report};

/// A heartbeat comes every second; a guest on a busy host may be late, but not by this much.
const SILENCE: Duration = Duration::from_secs(30);
/// For the rest of the kernel's last words.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// For output that is on its way when the command's end is reported.
const STRAGGLERS: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(100);

/// Where a stream of the command goes.
pub(crate) type Sink = Box<dyn Write + Send>;

/// Where the command's output goes.
pub(crate) struct Output {
    /// Its standard output.
    pub(crate) stdout: Sink,
    /// Its standard error.
    pub(crate) stderr: Sink,
}

/// How the boot ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// The command ended with this status; 128+N for a signal.
    Exited(i32),
    /// The command ran longer than it may.
    TimedOut,
    /// No word about the command is to be had.
    Failed(Failure),
}

impl End {
    /// Whether the kernel died of what only an emulated one can die of.
    pub(crate) fn is_the_emulators(&self, log: &Path) -> bool {
        matches!(self, Self::Failed(_))
            && fs::read_to_string(log).is_ok_and(|text| console::ran_stale_code(&text))
    }
}

/// Why there is no word about the command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// The kernel said so itself, in this line.
    Kernel(Illness, String),
    /// No heartbeat, and no reason on the console.
    Silence(Duration),
    /// The command was not started in time.
    NotBooted(Duration),
    /// Init could not set up the guest.
    Init(String),
    /// QEMU ended on its own, for instance because the guest switched itself off.
    Gone(Option<ExitStatus>),
    /// Bytes that the command wrote did not arrive.
    LostOutput,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(illness, line) => write!(f, "{illness}: {line}"),
            Self::Silence(duration) => write!(f, "silence: no heartbeat for {duration:.0?}"),
            Self::NotBooted(duration) => {
                write!(
                    f,
                    "the guest did not start the command within {duration:.0?}"
                )
            }
            Self::Init(text) => write!(f, "the guest's init failed: {text}"),
            Self::Gone(Some(status)) => write!(f, "the guest went down (QEMU: {status})"),
            Self::Gone(None) => write!(f, "the guest went down"),
            Self::LostOutput => write!(f, "some of the command's output was lost"),
        }
    }
}

/// When what happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timing {
    /// From QEMU's start to init's first word.
    pub(crate) started: Option<Duration>,
    /// From QEMU's start to the command's start.
    pub(crate) ready: Option<Duration>,
    /// The guest's uptime when the command started, in seconds.
    pub(crate) guest_ready: f64,
    /// From QEMU's start to its end.
    pub(crate) whole: Duration,
}

/// How patient to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From QEMU's start to the command's start.
    pub(crate) boot: Duration,
    /// From the command's start to its end.
    pub(crate) command: Duration,
}

enum Event {
    Report(Report),
    Illness(Illness, String),
    ConsoleClosed,
}

/// A boot that is being followed.
pub(crate) struct Session {
    running: Running,
    events: mpsc::Receiver<Event>,
    stdout: Relay,
    stderr: Relay,
    start: Instant,
    timing: Timing,
}

impl Session {
    /// Takes over a machine that was just started.
    pub(crate) fn new(running: Running, log: File, output: Output) -> Result<Self> {
        let (sender, events) = mpsc::channel();
        watch_console(running.console.try_clone()?, log, sender.clone());
        listen(running.control.try_clone()?, sender);
        Ok(Self {
            stdout: Relay::start(running.stdout.try_clone()?, output.stdout),
            stderr: Relay::start(running.stderr.try_clone()?, output.stderr),
            running,
            events,
            start: Instant::now(),
            timing: Timing::default(),
        })
    }

    /// Follows it to its end; QEMU is gone afterwards. Gives the output back for another boot.
    pub(crate) fn follow(mut self, limits: Limits) -> Result<(End, Timing, Output)> {
        let end = self.watch(limits);
        self.running.child.kill().context("end QEMU")?;
        let status = self.running.child.wait().context("wait for QEMU")?;
        self.timing.whole = self.start.elapsed();
        let output = Output {
            stdout: self.stdout.finish()?,
            stderr: self.stderr.finish()?,
        };
        let end = match end {
            End::Failed(Failure::Gone(None)) => End::Failed(Failure::Gone(Some(status))),
            end => end,
        };
        Ok((end, self.timing, output))
    }

    fn watch(&mut self, limits: Limits) -> End {
        let mut heard = Instant::now();
        let mut ready: Option<Instant> = None;
        loop {
            let event = self.events.recv_timeout(TICK);
            let now = Instant::now();
            match event {
                Ok(Event::Report(report)) => {
                    heard = now;
                    match report {
                        Report::Started(_) => self.timing.started = Some(now - self.start),
                        Report::Ready(uptime) => {
                            ready = Some(now);
                            self.timing.ready = Some(now - self.start);
                            self.timing.guest_ready = uptime;
                        }
                        Report::Alive => (),
                        Report::Note(text) => eprintln!("lab: {text}"),
                        Report::Failed(text) => return self.failed(Failure::Init(text)),
                        Report::Exit {
                            status,
                            stdout,
                            stderr,
                        } => {
                            return self.exited(status, stdout, stderr);
                        }
                    }
                }
                Ok(Event::Illness(illness, line)) => {
                    return self.failed(Failure::Kernel(illness, line));
                }
                Ok(Event::ConsoleClosed) | Err(RecvTimeoutError::Disconnected) => {
                    return self.failed(Failure::Gone(None));
                }
                Err(RecvTimeoutError::Timeout) => (),
            }
            // A command that is over its time is so even if the guest went silent meanwhile.
            if ready.is_some_and(|ready| now - ready > limits.command) {
                return End::TimedOut;
            }
            if ready.is_none() && now - self.start > limits.boot {
                return self.failed(Failure::NotBooted(limits.boot));
            }
            if self.timing.started.is_some() && now - heard > SILENCE {
                return self.failed(Failure::Silence(SILENCE));
            }
        }
    }

    /// Listens a little longer: an oops may be the first line of a panic, and the reason why the
    /// guest fell silent may be on the console.
    fn failed(&self, mut failure: Failure) -> End {
        let deadline = Instant::now() + LAST_WORDS;
        while let Ok(event) = self
            .events
            .recv_timeout(deadline - Instant::now().min(deadline))
        {
            let Event::Illness(illness, line) = event else {
                continue;
            };
            match &failure {
                Failure::Kernel(known, _) if *known >= illness => (),
                _ => failure = Failure::Kernel(illness, line),
            }
        }
        End::Failed(failure)
    }

    fn exited(&self, status: i32, stdout: u64, stderr: u64) -> End {
        let deadline = Instant::now() + STRAGGLERS;
        let mut seen = (self.stdout.count(), self.stderr.count());
        let mut deadline = deadline;
        while seen != (stdout, stderr) {
            if Instant::now() > deadline {
                return End::Failed(Failure::LostOutput);
            }
            thread::sleep(Duration::from_millis(2));
            let now_seen = (self.stdout.count(), self.stderr.count());
            if now_seen != seen {
                // Whoever reads the output may be slow, as long as it goes on.
                deadline = Instant::now() + STRAGGLERS;
                seen = now_seen;
            }
        }
        End::Exited(status)
    }
}

/// Copies one of the command's streams.
struct Relay {
    count: Arc<AtomicU64>,
    thread: JoinHandle<(Sink, io::Result<()>)>,
}

impl Relay {
    fn start(mut from: UnixStream, mut to: Sink) -> Self {
        let count = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&count);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            let mut result = Ok(());
            loop {
                // QEMU's end may vanish with data unread; what is left is then of no interest.
                let Ok(length @ 1..) = from.read(&mut buffer) else {
                    return (to, result);
                };
                if result.is_ok() {
                    result = to.write_all(&buffer[..length]).and_then(|()| to.flush());
                }
                shared.fetch_add(length as u64, Ordering::Release);
            }
        });
        Self { count, thread }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    fn finish(self) -> Result<Sink> {
        let Ok((to, result)) = self.thread.join() else {
            bail!("a thread that copies output panicked");
        };
        match result {
            // Whoever reads our output had enough of it, as `| head` has.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(to),
            result => result.map(|()| to).context("write the command's output"),
        }
    }
}

fn watch_console(from: UnixStream, mut log: File, to: Sender<Event>) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            log.write_all(&line).ok();
            let text = String::from_utf8_lossy(&line);
            if let Some(illness) = console::diagnose(&text) {
                to.send(Event::Illness(illness, console::message(&text).to_owned()))
                    .ok();
            }
            line.clear();
        }
        to.send(Event::ConsoleClosed).ok();
    });
}

fn listen(from: UnixStream, to: Sender<Event>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if let Ok(report) = serde_json::from_str(&line) {
                to.send(Event::Report(report)).ok();
            }
        }
    });
}
