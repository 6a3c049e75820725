//! Databases that run in a cgroup of a test's own, with their files on a file system that can be filled.

use std::{
    fs::{self, File, Permissions},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Said, cgroup::Cgroup, eventually, mounts::Mounted};

/// Until a server has started, or recovered, under emulation.
const PATIENCE: Duration = Duration::from_mins(2);

/// Debian 12 has this version.
const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

/// A file system with a limit, that everybody can write to.
#[derive(Debug)]
pub struct Disk {
    mounted: Mounted,
}

impl Disk {
    /// A tmpfs of so many KiB.
    pub fn new(kilobytes: u32) -> Self {
        let mounted = Mounted::tmpfs_with(&format!("mode=777,size={kilobytes}k"));
        let base = mounted.path().parent().unwrap();
        fs::set_permissions(base, Permissions::from_mode(0o755)).unwrap();
        Self { mounted }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let written = fs::write(self.filler(), vec![1; 256 << 20]);
        let error = written.expect_err("it has an end");
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    }

    /// Gives that back.
    pub fn empty(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

/// A program, and where it logs.
#[derive(Debug)]
struct Server {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Server {
    /// Starts a command that logs to standard error; with a fault by `kchaos run`.
    fn start(cgroup: &Cgroup, fault: Option<&str>, words: &[&str]) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let run = fault.map_or(vec![], |fault| {
            vec!["kchaos", "run", "--fault", fault, "--"]
        });
        let words = [&run, words].concat();
        let child = cgroup
            .command(words[0])
            .args(&words[1..])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(File::create(log.path()).unwrap())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A Redis server that keeps an append-only file; killed when it is dropped.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    socket: PathBuf,
}

impl Redis {
    /// Starts one that syncs `always` or `everysec`, and waits until it answers.
    pub fn start(cgroup: &Cgroup, disk: &Disk, fault: Option<&str>, sync: &str) -> Self {
        let socket = disk.path().join("redis.sock");
        let folder = disk.path().display().to_string();
        let at = socket.display().to_string();
        let words = [
            "/usr/bin/redis-server",
            "--port",
            "0",
            "--unixsocket",
            &at,
            "--dir",
            &folder,
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            sync,
            // Of an abort: a test of the memory, and a report.
            "--crash-log-enabled",
            "no",
        ];
        fs::remove_file(&socket).ok();
        let redis = Self {
            server: Server::start(cgroup, fault, &words),
            socket,
        };
        eventually("redis answers", PATIENCE, || {
            redis.ask("PING").as_deref() == Some("+PONG")
        });
        redis
    }

    /// The first line of the answer to a line; `None` when nobody answers.
    pub fn ask(&self, line: &str) -> Option<String> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "{line}\r\n").ok()?;
        let mut said = String::new();
        BufReader::new(stream).read_line(&mut said).ok()?;
        (!said.is_empty()).then(|| said.trim_end().to_owned())
    }

    /// Asks until the answer begins with this; the answer.
    pub fn ask_until(&self, line: &str, begins: &str) -> String {
        let mut said = String::new();
        eventually(&format!("redis says {begins}"), PATIENCE, || {
            said = self.ask(line).unwrap_or_default();
            said.starts_with(begins)
        });
        said
    }

    /// Waits until it has logged something: that line, without time and process.
    pub fn logged(&self, words: &str) -> String {
        let mut found = None;
        eventually(&format!("redis logs {words:?}"), PATIENCE, || {
            let log = self.server.log();
            found = log
                .lines()
                .find(|line| line.contains(words))
                // `PID:ROLE DAY MONTH YEAR TIME LEVEL text`
                .map(|line| line.splitn(7, ' ').last().unwrap().to_owned());
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until it has ended by itself; all that it has logged.
    pub fn ended(mut self) -> String {
        eventually("redis ends", PATIENCE, || {
            self.server.child.try_wait().unwrap().is_some()
        });
        self.server.log()
    }
}

/// A program as nobody: PostgreSQL does not run as root.
fn nobody(program: &str) -> Vec<String> {
    let words = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let mut words: Vec<String> = words.map(str::to_owned).into();
    words.push(format!("{POSTGRES}/{program}"));
    words
}

/// A PostgreSQL server; stopped when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    disk: PathBuf,
}

impl Postgres {
    /// Makes a cluster on a disk, `data`, by the calling cgroup.
    pub fn make(disk: &Disk) {
        let words = nobody("initdb");
        let said: Said = Command::new(&words[0])
            .args(&words[1..])
            .args(["--no-sync", "--locale=C", "-A", "trust", "-U", "postgres"])
            .arg("-D")
            .arg(disk.path().join("data"))
            .output()
            .unwrap()
            .into();
        assert_eq!(said.status, 0, "{said:?}");
    }

    /// Starts a server on it in a cgroup, and waits until it answers.
    pub fn start(cgroup: &Cgroup, disk: &Disk, fault: Option<&str>) -> Self {
        let socket = format!("unix_socket_directories={}", disk.path().display());
        let settings = [
            &socket,
            "listen_addresses=",
            // Nothing that comes by itself.
            "autovacuum=off",
            "checkpoint_timeout=1h",
        ];
        let mut words = nobody("postgres");
        words.extend([
            "-D".to_owned(),
            disk.path().join("data").display().to_string(),
        ]);
        for setting in settings {
            words.extend(["-c".to_owned(), setting.to_owned()]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let postgres = Self {
            server: Server::start(cgroup, fault, &words),
            disk: disk.path().to_owned(),
        };
        postgres.wait();
        postgres
    }

    /// Waits until it answers.
    fn wait(&self) {
        eventually("postgres answers", PATIENCE, || {
            self.psql("select 1").status == 0
        });
    }

    /// Waits until it has noticed that it must recover, before which it may answer for a moment, and
    /// answers again.
    pub fn recovers(&self) {
        eventually("postgres recovers", PATIENCE, || {
            self.log().contains("reinitializing")
        });
        self.wait();
    }

    /// What a client says that is in no target.
    pub fn psql(&self, statement: &str) -> Said {
        let words = nobody("psql");
        Command::new(&words[0])
            .args(&words[1..])
            .arg("-h")
            .arg(&self.disk)
            .args(["-U", "postgres", "-XAtq", "-v", "ON_ERROR_STOP=1"])
            .args(["-c", statement])
            .current_dir("/")
            .output()
            .unwrap()
            .into()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.disk.join("data/postmaster.pid"));
        let pid = pid.ok().and_then(|text| text.lines().next()?.parse().ok());
        if let Some(pid) = pid {
            // An immediate shutdown, of all its processes.
            crate::signal(pid, libc::SIGQUIT);
            self.server.child.wait().ok();
        }
    }
}

/// What the shell of `SQLite` says in a cgroup.
pub fn sqlite(cgroup: &Cgroup, disk: &Disk, statement: &str) -> Said {
    sqlite_by(cgroup.command("/usr/bin/sqlite3"), disk, statement)
}

/// The same by a command that runs it.
pub fn sqlite_by(mut command: Command, disk: &Disk, statement: &str) -> Said {
    command
        .args(["-batch", "-bail"])
        .arg(disk.path().join("db"))
        .arg(statement)
        .current_dir("/")
        .output()
        .unwrap()
        .into()
}
