//! Delays that are too long for a program to keep a processor busy: threads of what runs already sleep,
//! each for itself, and nobody stays asleep.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
        process::{Child, Stdio},
        time::{Duration, Instant},
    };

    use kchaos_tests::{
        Said,
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        counter, eventually, kchaos,
        needs::{can_by, has_its_turn, skip},
        require, signal,
    };
    use serde_json::Value;

    /// What a test waits for at most, on a busy machine.
    const PATIENCE: Duration = Duration::from_mins(1);

    /// Folders one after the other while another thread counts, until that has gone on meanwhile, or there
    /// are so many: on a busy machine a thread may be stopped too late, with the lock that python has. A
    /// read that finds nothing for a while; and six at a time. In milliseconds.
    const VICTIM: &str = "
import errno, json, os, sys, threading, time
folder, name, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
ticks, over = 0, False
def tick():
    global ticks
    while not over:
        time.sleep(0.01)
        ticks += 1
ticker = threading.Thread(target=tick)
ticker.start()
def since(start):
    # Who was stopped too late sleeps now, unless it does already.
    end = time.monotonic() + 0.3
    while time.monotonic() < end: pass
    return int((time.monotonic() - start) * 1000)
errors = []
while len(errors) < most:
    start, used, before = time.monotonic(), time.process_time(), ticks
    try:
        os.mkdir(f'{folder}/{name}{len(errors)}')
        errors.append(0)
    except OSError as error:
        errors.append(error.errno)
    counted, used = ticks - before, int((time.process_time() - used) * 1000)
    took = since(start)
    if len(errors) > 1 and counted >= 20: break
os.mkfifo(f'{folder}/fifo')
def feed():
    with open(f'{folder}/fifo', 'w') as fifo:
        time.sleep(0.5)
        fifo.write('fed')
feeder = threading.Thread(target=feed)
feeder.start()
fifo = os.open(f'{folder}/fifo', os.O_RDONLY)
fed = os.read(fifo, 100).decode()
feeder.join()
os.unlink(f'{folder}/fifo')
start = time.monotonic()
make = lambda number: os.mkdir(f'{folder}/{name}-{number}')
threads = [threading.Thread(target=make, args=(number,)) for number in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
at_once = since(start)
start = time.monotonic()
os.rmdir(f'{folder}/{name}0')
removed = since(start)
over = True
print(json.dumps(dict(errors=errors, took=took, used=used, ticks=counted, fed=fed,
    at_once=at_once, removed=removed)))";

    fn victim(cgroup: &Cgroup, folder: &Path, name: &str, most: &str) -> Value {
        let mut command = cgroup.command("/usr/bin/python3");
        command.args(["-c", VICTIM]).arg(folder).args([name, most]);
        let said: Said = command.output().unwrap().into();
        assert_eq!(said.status, 0, "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    }

    fn threads_sleep(mechanism: &str) {
        if !can_by("file.delay", mechanism) || !has_its_turn(mechanism) {
            return skip(&format!("no {mechanism} here, or not its turn"));
        }
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let mut agent = Agent::start(&[]);
        agent.apply(&format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: slow}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - id: slow
    fileDelay: {{ops: [mkdir], delay: 1s, path: {path}/, mechanism: {mechanism}}}
  - id: error
    fileError: {{ops: [mkdir], errno: EDQUOT, path: {path}/, when: 2, mechanism: {mechanism}}}
  - id: read
    fileDelay: {{ops: [read], delay: 300ms, path: {path}/fifo, mechanism: {mechanism}}}
  - id: call
    syscallDelay: {{ops: [rmdir], delay: 700ms, times: 1, mechanism: {mechanism}}}
",
            target.path()
        ));
        let said = victim(&target, folder.path(), "hit", "40");
        let ms = |key: &str| said[key].as_u64().unwrap();
        // The others of its process go on, and nobody is busy.
        assert!(ms("ticks") >= 20, "{said}");
        assert!(ms("took") >= 1000, "{said}");
        assert!(ms("used") < 500, "{said}");
        // The second one fails, and waits as well.
        let errors = said["errors"].as_array().unwrap();
        let failed = errors.iter().filter(|error| **error != 0).count();
        assert_eq!((&errors[1], failed), (&libc::EDQUOT.into(), 1), "{said}");
        assert_eq!(said["fed"], "fed");
        assert!(ms("removed") >= 700, "{said}");
        // Six in a row would be six seconds.
        assert!(ms("at_once") < 5000, "{said}");
        let made = u64::try_from(errors.len()).unwrap() + 6;
        let fast = victim(&neighbour, folder.path(), "other", "2");
        assert_eq!(fast["errors"], serde_json::json!([0, 0]));
        assert!(fast["took"].as_u64().unwrap() < 1000, "{fast}");
        let said = agent.ask(&["stop", "slow", "--json"]);
        let account: Value = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
        let account = &account["nodes"][0];
        for (fault, matched, injected) in [(0, made, made), (1, made, 1), (2, 1, 1), (3, 1, 1)] {
            assert_eq!(counter(account, fault, "matched"), matched, "{account}");
            assert_eq!(counter(account, fault, "injected"), injected, "{account}");
        }
        assert_eq!(pauser_of(&agent), None, "nobody needs it any more");
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn threads_sleep_by_lsm() {
        threads_sleep("lsm");
    }

    #[test]
    fn threads_sleep_by_fmod_ret() {
        threads_sleep("fmod-ret");
    }

    /// What waits for long by itself is neither interrupted nor counted twice.
    #[test]
    fn threads_sleep_by_fmod_ret_syscall() {
        if !can_by("syscall.delay", "fmod-ret-syscall") {
            return skip("no fmod-ret-syscall here");
        }
        // On a busy machine one or the other is stopped too late.
        let script = "import ctypes, time
c = ctypes.CDLL(None, use_errno=True)
epoll, events = c.epoll_create1(0), ctypes.create_string_buffer(64)
for number in range(1, 60):
    start = time.monotonic()
    waited = c.epoll_wait(epoll, events, 1, 200)
    if waited == 0 and time.monotonic() - start >= 0.9: break
print(number, waited, time.monotonic() - start >= 0.9)";
        let fault = "syscall.delay:epoll_wait=700ms,mechanism=fmod-ret-syscall";
        let said = kchaos(&[
            "run", "--json", "--fault", fault, "--", "python3", "-c", script,
        ]);
        let (number, rest) = said.out.trim().split_once(' ').unwrap();
        assert_eq!(rest, "0 True", "{said:?}");
        let number: u64 = number.parse().unwrap();
        let account = said.err.lines().find_map(|l| serde_json::from_str(l).ok());
        let account: Value = account.unwrap();
        assert_eq!(counter(&account, 0, "matched"), number, "{account}");
        assert_eq!(counter(&account, 0, "injected"), number, "{account}");
    }

    /// A field of /proc/PID/status.
    fn status(pid: u32, field: &str) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
        Some(rest.trim_start_matches(':').trim().to_owned())
    }

    /// The process of an agent's that stops others.
    fn pauser_of(agent: &Agent) -> Option<u32> {
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .find(|pid: &u32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.split(|byte| *byte == 0).nth(1) == Some(b"pauser")
                    && status(*pid, "PPid") == Some(agent.child.id().to_string())
            })
    }

    /// One that sleeps now, and would for the whole test, with the folder that it makes. On a busy machine
    /// it may be over before it is stopped: then another one tries.
    fn sleeper(cgroup: &Cgroup, folder: &Path) -> (Child, PathBuf) {
        let start = Instant::now();
        for number in 0.. {
            assert!(start.elapsed() < PATIENCE, "{number} have come through");
            let path = folder.join(number.to_string());
            if path.exists() {
                continue;
            }
            let mut command = cgroup.script(&format!("mkdir {}", path.display()));
            let mut child = command.stdin(Stdio::null()).spawn().unwrap();
            while child.try_wait().unwrap().is_none() {
                if status(child.id(), "State").is_some_and(|state| state.starts_with('t')) {
                    return (child, path);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        unreachable!()
    }

    fn wakes_up((mut child, path): (Child, PathBuf)) {
        let start = Instant::now();
        assert!(child.wait().unwrap().success());
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
        assert!(path.exists(), "and it is done");
    }

    #[test]
    fn nobody_stays_asleep() {
        require!("file.delay");
        let before = Loaded::now();
        let target = Cgroup::new("target");
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let experiment = format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: slow}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - fileDelay: {{ops: [mkdir], delay: 5m, path: {}/}}
",
            target.path(),
            folder.display()
        );
        let mut agent = Agent::start(&["--lease", "2s"]);
        agent.apply(&experiment);
        // The experiment is stopped.
        // Who is stopped in time has done nothing yet; on a busy machine one or the other is not.
        let start = Instant::now();
        let mut sleepers = Vec::new();
        while sleepers
            .last()
            .is_none_or(|(_, path): &(Child, PathBuf)| path.exists())
        {
            assert!(start.elapsed() < PATIENCE, "none of them was in time");
            sleepers.push(sleeper(&target, folder));
        }
        assert_eq!(agent.ask(&["stop", "slow"]).status, 0);
        sleepers.into_iter().for_each(wakes_up);
        // The one that stops others is killed, and another one comes.
        agent.apply(&experiment);
        let child = sleeper(&target, folder);
        let first = pauser_of(&agent).unwrap();
        signal(first, libc::SIGKILL);
        wakes_up(child);
        eventually("there is another one", PATIENCE, || {
            pauser_of(&agent).is_some_and(|pid| pid != first)
        });
        // It is held: the kernel kills it.
        let child = sleeper(&target, folder);
        let second = pauser_of(&agent).unwrap();
        signal(second, libc::SIGSTOP);
        wakes_up(child);
        eventually("there is a third one", PATIENCE, || {
            pauser_of(&agent).is_some_and(|pid| pid != second)
        });
        // The agent is held for longer than its lease.
        let child = sleeper(&target, folder);
        agent.signal(libc::SIGSTOP);
        wakes_up(child);
        agent.signal(libc::SIGCONT);
        agent.ask(&["stop", "slow"]);
        // It is killed.
        agent.apply(&experiment);
        let child = sleeper(&target, folder);
        let last = pauser_of(&agent).unwrap();
        agent.signal(libc::SIGKILL);
        wakes_up(child);
        agent.child.wait().unwrap();
        eventually("its pauser ends as well", PATIENCE, || {
            status(last, "State").is_none_or(|state| state.starts_with('Z'))
        });
        let check = || kchaos(&["heal", "--check"]);
        eventually("its guard has cleaned up", PATIENCE, || check().status == 0);
        assert_eq!(before.left_since(), Loaded::default());
    }
}
