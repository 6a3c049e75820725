//! Runs kchaos as nobody, in a folder of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::victim;

/// Everything here takes a few seconds; a machine that is busy may take longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// A folder that everybody can use, with copies of the programs in it.
pub(crate) struct Lab {
    folder: TempDir,
    kchaos: String,
}

/// What kchaos and its command have said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) struct Running {
    child: Option<Child>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("kchaos-")
            .tempdir()
            .unwrap();
        let lab = Self {
            kchaos: folder.path().join("kchaos").to_str().unwrap().to_owned(),
            folder,
        };
        let open_up = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        open_up(lab.folder.path(), 0o777);
        for (from, to) in [
            (PathBuf::from(env!("CARGO_BIN_EXE_kchaos")), "kchaos"),
            (std::env::current_exe().unwrap(), "test"),
        ] {
            let to = lab.folder.path().join(to);
            fs::copy(from, &to).unwrap();
            open_up(&to, 0o755);
        }
        let file = lab.folder.path().join("file");
        fs::write(&file, "").unwrap();
        open_up(&file, 0o666);
        lab
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What is in a file of the folder.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Whether these runs are somebody else's, who has no privileges.
    pub(crate) fn as_nobody() -> bool {
        // SAFETY: takes nothing.
        unsafe { libc::geteuid() == 0 }
    }

    pub(crate) fn kchaos(&self) -> &str {
        &self.kchaos
    }

    /// The files of those who have registered.
    pub(crate) fn registered(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder.path().join("state")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    pub(crate) fn forbid(&self) {
        let state = self.folder.path().join("state");
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join("DISABLED"), "").unwrap();
    }

    pub(crate) fn run(&self, faults: &[&str], victim: &[&str]) -> Ran {
        self.start(faults, victim).wait()
    }

    pub(crate) fn run_command(&self, faults: &[&str], options: &[&str], command: &[&str]) -> Ran {
        self.start_command(faults, options, command).wait()
    }

    pub(crate) fn start(&self, faults: &[&str], victim: &[&str]) -> Running {
        let mut command = vec!["./test"];
        command.extend(victim);
        self.start_command(faults, &[], &command)
    }

    pub(crate) fn start_command(
        &self,
        faults: &[&str],
        options: &[&str],
        command: &[&str],
    ) -> Running {
        let mut program = if Self::as_nobody() {
            let mut program = Command::new("setpriv");
            program.args([
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "--",
            ]);
            program.arg(&self.kchaos);
            program
        } else {
            Command::new(&self.kchaos)
        };
        program.args(["run", "--json"]).args(options);
        for fault in faults {
            program.args(["--fault", fault]);
        }
        program
            .arg("--")
            .args(command)
            .current_dir(self.folder.path())
            .env("KCHAOS_STATE_DIR", self.folder.path().join("state"))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            // The test's own, which a loader would look through first.
            .env_remove("LD_LIBRARY_PATH")
            .env(victim::VARIABLE, "yes")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running {
            child: Some(program.spawn().unwrap()),
        }
    }

    /// What a victim has written down, once it has.
    /// A file with this in it, and where it is.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn said(&self, name: &str) -> String {
        let file = self.folder.path().join(name);
        wait_until(name, || {
            fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n'))
        });
        fs::read_to_string(file).unwrap()
    }
}

impl Running {
    /// setpriv execs, so that its pid is kchaos's.
    pub(crate) fn kchaos(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn guards(&self) -> Vec<u32> {
        let mut found = Vec::new();
        let is_guard = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("guard-of-calls"))
        };
        wait_until("there is a guard", || {
            found = children(self.kchaos());
            found.retain(is_guard);
            !found.is_empty() || !is_alive(self.kchaos())
        });
        found
    }

    pub(crate) fn wait(mut self) -> Ran {
        let mut child = self.child.take().unwrap();
        let pid = child.id();
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        // One that hangs is ended, and fails the test by its status.
        let watch = thread::spawn(move || {
            if is_done.recv_timeout(PATIENCE).is_err() {
                kill(pid);
            }
        });
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let err = thread::spawn(move || std::io::read_to_string(&mut err).unwrap());
        let out = std::io::read_to_string(&mut out).unwrap();
        let status = child.wait().unwrap();
        done.send(()).ok();
        watch.join().unwrap();
        Ran {
            status: status.code().unwrap_or(-1),
            out,
            err: err.join().unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Ran {
    /// The last line.
    pub(crate) fn account(&self) -> serde_json::Value {
        let line = self.err.lines().rfind(|line| line.starts_with('{'));
        serde_json::from_str(line.unwrap_or_else(|| panic!("{self:?}"))).unwrap()
    }
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn kill(pid: u32) {
    send(pid, libc::SIGKILL);
}

pub(crate) fn send(pid: u32, signal: i32) {
    // SAFETY: takes two integers.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// One that has ended but was not waited for is not.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

fn children(of: u32) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|(state, parent)| parent == of && state != 'Z'))
        .collect()
}

/// The number behind a name in what a victim says.
pub(crate) fn number(said: &str, name: &str) -> i64 {
    let number = said
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    number.map_or_else(|| panic!("no {name} in {said:?}"), |it| it.parse().unwrap())
}

/// What the first fault has hit.
pub(crate) fn injected(account: &serde_json::Value) -> i64 {
    account["faults"][0]["counters"]["injected"]
        .as_i64()
        .unwrap()
}
