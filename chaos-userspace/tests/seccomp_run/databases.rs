//! Databases as victims: what they say of a disk that lies or is full, and that they are well
//! afterwards. They are Debian's, which `cargo xtask setup` installs; without them a test says so.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    time::Duration,
};

use crate::lab::{Lab, Ran, Running, injected, send, wait_until};

const SQLITE: &str = "/usr/bin/sqlite3";
const REDIS: &str = "/usr/bin/redis-server";
/// Debian 12 has this version.
const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

/// Long enough for a server to be up, at which the faults begin.
const AFTER: Duration = Duration::from_secs(4);

fn is_missing(program: &str) -> bool {
    let missing = !Path::new(program).exists();
    if missing {
        println!("skipped: there is no {program}");
    }
    missing
}

/// A file system that is full but for some kilobytes, in a mount namespace of the script's own;
/// `None` without the right to make one. The script runs as nobody.
fn on_full_disk(lab: &Lab, kilobytes: u32, script: &str) -> Option<String> {
    if !Lab::as_nobody() {
        println!("not compared with a full disk: needs root");
        return None;
    }
    lab.write("script", script);
    let mount = format!(
        "mkdir -p full && mount -t tmpfs -o mode=777,size={kilobytes}k none full && cp script full && \
         cd full && exec setpriv --reuid 65534 --regid 65534 --clear-groups sh script"
    );
    let said = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &mount])
        .current_dir(lab.folder())
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&said.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&said.stderr));
    Some(text)
}

/// The line with a word in it.
fn line<'a>(text: &'a str, word: &str) -> &'a str {
    let found = text.lines().find(|line| line.contains(word));
    found.unwrap_or_else(|| panic!("no {word:?} in {text}"))
}

const TABLE: &str = "create table if not exists t(a); insert into t values (zeroblob(300000));";

fn sqlite(lab: &Lab, faults: &[&str]) -> Ran {
    lab.run_command(faults, &[], &[SQLITE, "-batch", "db", TABLE])
}

#[test]
fn sqlite_says_what_is_wrong_and_loses_nothing() {
    if is_missing(SQLITE) {
        return;
    }
    let lab = Lab::new();
    assert_eq!(
        sqlite(&lab, &["syscall.error:fsync=EIO,when=1000"]).status,
        123
    );
    for (fault, said) in [
        ("syscall.error:fsync+fdatasync=EIO", "disk I/O error"),
        ("syscall.error:pwrite64=EIO", "disk I/O error"),
        ("syscall.error:pwrite64=ENOSPC", "database or disk is full"),
        // Those before are of the libraries and of the shell itself.
        (
            "syscall.error:openat=EMFILE,when=11+",
            "unable to open database",
        ),
    ] {
        let ran = sqlite(&lab, &[fault]);
        assert_ne!(ran.status, 0, "{fault}: {ran:?}");
        assert!(ran.err.contains(said), "{fault}: {ran:?}");
        assert!(injected(&ran.account()) > 0, "{ran:?}");
    }
    let check = ["select count(*) from t; pragma integrity_check;"];
    let after = Command::new(SQLITE)
        .args(["-batch", "db"])
        .args(check)
        .current_dir(lab.folder())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&after.stdout), "1\nok\n");
    // The same words as of a disk that is really full.
    let real = on_full_disk(&lab, 200, &format!("{SQLITE} -batch db '{TABLE}'"));
    if let Some(real) = real {
        assert!(real.contains("database or disk is full"), "{real}");
    }
}

/// A server in the lab's folder that listens on a socket there.
struct Redis(Running);

impl Redis {
    fn start(lab: &Lab, faults: &[&str]) -> Self {
        let options = "--port 0 --unixsocket redis.sock --appendonly yes --appendfsync always \
                       --save \"\" --logfile redis.log";
        let mut command = vec![REDIS];
        command.extend(
            options
                .split_whitespace()
                .map(|word| word.trim_matches('"')),
        );
        let running = lab.start_command(faults, &[], &command);
        wait_until("redis answers", || {
            ask(lab, "PING").is_some_and(|said| said == "+PONG")
        });
        Self(running)
    }

    fn end(self, lab: &Lab) -> Ran {
        ask(lab, "SHUTDOWN");
        self.0.wait()
    }
}

/// A line for a line; `None` when nobody answers.
fn ask(lab: &Lab, line: &str) -> Option<String> {
    let mut stream = UnixStream::connect(lab.folder().join("redis.sock")).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    write!(stream, "{line}\r\n").ok()?;
    let mut said = String::new();
    BufReader::new(stream).read_line(&mut said).ok()?;
    (!said.is_empty()).then(|| said.trim_end().to_owned())
}

#[test]
fn redis_stops_when_its_log_is_not_on_the_disk_and_has_it_afterwards() {
    if is_missing(REDIS) {
        return;
    }
    let lab = Lab::new();
    // Each SET is one sync.
    let redis = Redis::start(&lab, &["syscall.error:fdatasync=EIO,when=4+"]);
    let mut done = 0;
    while ask(&lab, &format!("SET key {}", done + 1)).as_deref() == Some("+OK") {
        done += 1;
        assert!(done < 10, "the fourth sync at most fails");
    }
    let ran = redis.0.wait();
    assert_eq!(ran.status, 1, "{ran:?}");
    assert_eq!(injected(&ran.account()), 1);
    let log = lab.read("redis.log");
    let said = line(&log, "Can't persist AOF for fsync error");
    assert!(said.contains("Input/output error"), "{said}");
    // A fault that never comes: the data is as far as it was told to be.
    let redis = Redis::start(&lab, &["syscall.error:fdatasync=EIO,when=1000"]);
    let value = ask(&lab, "STRLEN key").unwrap();
    assert_eq!(value, ":1", "{log}");
    assert_eq!(ask(&lab, "SET key again").as_deref(), Some("+OK"));
    redis.end(&lab);
}

#[test]
fn redis_gets_over_full_tables_and_peers_that_are_gone() {
    if is_missing(REDIS) {
        return;
    }
    let lab = Lab::new();
    let faults = [
        "syscall.error:accept4=EMFILE,when=3",
        "syscall.error:connect=ETIMEDOUT,times=1",
    ];
    let redis = Redis::start(&lab, &faults);
    for _ in 0..5 {
        assert_eq!(ask(&lab, "PING").as_deref(), Some("+PONG"));
    }
    assert_eq!(ask(&lab, "REPLICAOF 127.0.0.1 1").as_deref(), Some("+OK"));
    wait_until("it has tried to connect", || {
        lab.read("redis.log").contains("Connection timed out")
    });
    assert_eq!(ask(&lab, "REPLICAOF NO ONE").as_deref(), Some("+OK"));
    assert_eq!(ask(&lab, "SET key 1").as_deref(), Some("+OK"));
    let ran = redis.end(&lab);
    let log = lab.read("redis.log");
    assert!(line(&log, "Accepting client connection").contains("Too many open files"));
    for fault in [0, 1] {
        let account = ran.account();
        let injected = &account["faults"][fault]["counters"]["injected"];
        assert_eq!(injected, 1, "{account}");
    }
}

/// A cluster in the lab's folder, without faults.
fn initdb(lab: &Lab, folder: &Path) {
    let said = nobody(lab, &format!("{POSTGRES}/initdb"))
        .args([
            "--no-sync",
            "--locale=C",
            "-A",
            "trust",
            "-U",
            "postgres",
            "-D",
        ])
        .arg(folder)
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
}

fn nobody(lab: &Lab, program: &str) -> Command {
    let mut command = if Lab::as_nobody() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(lab.folder());
    command
}

/// What psql says, and whether all was well.
fn psql(lab: &Lab, statement: &str) -> (bool, String) {
    let said = nobody(lab, &format!("{POSTGRES}/psql"))
        .args(["-h", lab.folder().to_str().unwrap(), "-U", "postgres"])
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement])
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&said.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&said.stderr));
    (said.status.success(), text)
}

/// With a fault that comes when it is up.
fn postgres(lab: &Lab, fault: &str) -> Running {
    let fault = format!("{fault},after={}s", AFTER.as_secs());
    let program = format!("{POSTGRES}/postgres");
    let socket = format!("unix_socket_directories={}", lab.folder().display());
    let command = [
        &program,
        "-D",
        "data",
        "-c",
        &socket,
        "-c",
        "listen_addresses=",
        "-c",
        "autovacuum=off",
    ];
    let running = lab.start_command(&[&fault], &[], &command);
    wait_until("postgres answers", || psql(lab, "select 1").0);
    running
}

fn stop_postgres(lab: &Lab, running: Running) -> Ran {
    let pid = lab.read("data/postmaster.pid");
    let pid = pid.lines().next().unwrap().parse().unwrap();
    // A fast shutdown.
    send(pid, libc::SIGINT);
    running.wait()
}

/// Its log is what it writes to stderr.
#[test]
fn postgres_panics_when_its_log_is_not_on_the_disk_and_recovers() {
    if is_missing(&format!("{POSTGRES}/postgres")) {
        return;
    }
    let lab = Lab::new();
    initdb(&lab, &lab.folder().join("data"));
    let running = postgres(&lab, "syscall.error:fdatasync=EIO,times=1");
    let (well, said) = psql(&lab, "create table t(a int); insert into t values (1)");
    assert!(well, "{said}");
    std::thread::sleep(AFTER);
    let (well, said) = psql(&lab, "insert into t values (2)");
    assert!(!well && said.contains("PANIC"), "{said}");
    assert!(
        line(&said, "PANIC").contains("Input/output error"),
        "{said}"
    );
    // The second row was in the log, whether or not it was on the disk: it may be there or not, as
    // after a real failure. The first one has to be.
    let mut said = String::new();
    // Before it has noticed that it must recover, it may answer for a moment.
    wait_until("it has recovered", || {
        let third = "insert into t values (3); select min(a), max(a) from t";
        let (well, text) = psql(&lab, third);
        said = text;
        well
    });
    assert_eq!(said, "1|3\n");
    let ran = stop_postgres(&lab, running);
    assert_eq!(injected(&ran.account()), 1, "{ran:?}");
    assert!(ran.err.contains("reinitializing"), "{ran:?}");
}

/// No log is written for its rows, so that the first write that fails is that of the table.
const UNLOGGED: &str = "create unlogged table u(a text)";
const ROWS: &str = "insert into u select repeat('x', 1000) from generate_series(1, 20000)";

#[test]
fn postgres_says_the_same_of_a_full_disk_as_of_a_real_one() {
    if is_missing(&format!("{POSTGRES}/postgres")) {
        return;
    }
    let lab = Lab::new();
    initdb(&lab, &lab.folder().join("data"));
    let running = postgres(&lab, "syscall.error:pwrite64=ENOSPC,times=1");
    assert_eq!(psql(&lab, UNLOGGED), (true, String::new()));
    std::thread::sleep(AFTER);
    let (well, said) = psql(&lab, ROWS);
    assert!(!well, "{said}");
    // Again, now that there is room.
    assert_eq!(psql(&lab, ROWS), (true, String::new()));
    let ran = stop_postgres(&lab, running);
    assert_eq!(injected(&ran.account()), 1, "{ran:?}");
    let folder = lab.folder().display();
    let script = format!(
        "cp -r {folder}/data data && rm -f data/postmaster.pid && chmod 700 data
         {POSTGRES}/pg_ctl -w -s -D data -l log -o '-k {folder} -c listen_addresses=' start
         printf '%s\\n' \"\\\\! dd if=/dev/zero of=filled bs=1k status=none\" \"{ROWS};\" >script.sql
         {POSTGRES}/psql -h {folder} -U postgres -XAtq -f script.sql
         rm filled
         {POSTGRES}/pg_ctl -w -s -D data -m immediate stop"
    );
    let Some(real) = on_full_disk(&lab, 120_000, &script) else {
        return;
    };
    let words = |text: &str| {
        let (_, error) = line(text, "ERROR").split_once("ERROR").unwrap();
        let quoted: Vec<&str> = error.split('"').collect();
        // Without the table's file, which is another one each time.
        let blocks = quoted.last().unwrap().split(';').next().unwrap().to_owned();
        (quoted[0].to_owned(), blocks, text.contains("HINT"))
    };
    assert_eq!(words(&said), words(&real), "{said}\n{real}");
    fs::remove_dir_all(lab.folder().join("data")).ok();
}
