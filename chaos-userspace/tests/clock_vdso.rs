//! Faults of clocks on this host: no BPF is needed for them, but root is.

#[cfg(test)]
#[path = "clock_vdso/lab.rs"]
mod lab;

#[cfg(test)]
#[path = "clock_vdso/tender.rs"]
mod tender;

#[cfg(test)]
mod tests {
    use std::{process::Command, thread, time::Duration};

    use crate::{
        lab::{
            Cgroup, account, account_of_any, alone, checked, descendants, eventually, inject,
            inject_and_wait, is_at_work, is_patched, kchaos, kill, missing, now, program, said,
            state_dir, static_victim, tender_of, victim,
        },
        tender::{Held, Tender, order},
    };

    const HOUR: &str = "3600000000000";

    macro_rules! require {
        () => {
            if let Some(why) = missing() {
                assert!(std::env::var_os("CI").is_none(), "{why}");
                return;
            }
            let _alone = alone();
        };
    }

    /// Cycles of injecting and reverting.
    fn cycles() -> u32 {
        if std::env::var_os("KCHAOS_LONG").is_some() {
            500
        } else {
            20
        }
    }

    #[test]
    fn a_command_is_bent_from_its_first_instruction_and_to_its_last() {
        require!();
        let fault = "clock.offset:realtime=+1h";
        for program in [victim(), static_victim()] {
            let ran = kchaos(&[
                "run", "--json", "--fault", fault, "--", program, "check", HOUR, "3", "0.3",
            ]);
            let out = said(&ran);
            let done: Vec<&str> = out.lines().last().unwrap().split(' ').collect();
            assert_eq!(&done[..2], ["done", "0"], "a true reading in {out}");
            let err = String::from_utf8_lossy(&ran.stderr).into_owned();
            let account: serde_json::Value = serde_json::from_str(err.trim()).unwrap();
            let counters = &account["faults"][0]["counters"];
            assert_eq!(counters["considered"], 1, "{account}");
            assert_eq!(counters["matched"], 1, "{account}");
            assert_eq!(counters["injected"], 1, "{account}");
            assert_eq!(account["faults"][0]["mechanism"], "vdso");
        }
    }

    #[test]
    fn whoever_reads_no_clock_was_not_hit() {
        require!();
        let ran = kchaos(&["run", "--fault", "clock.offset:realtime=+1h", "--", "true"]);
        assert_eq!(ran.status.code(), Some(123), "{ran:?}");
    }

    #[test]
    fn cycles_hurt_neither_the_target_nor_its_neighbour() {
        require!();
        for threads in ["1", "5", "64"] {
            let (target, beside) = (Cgroup::new("target"), Cgroup::new("beside"));
            let hit = target.spawn(victim(), &["check", HOUR, threads, "3600"]);
            let neighbour = beside.spawn(victim(), &["check", HOUR, "1", "3600"]);
            let pid = hit.id();
            eventually("it runs", || is_at_work(pid));
            let mut stalls = 0;
            for _ in 0..cycles() {
                let ended = account_of_any(inject(&target, "clock.offset:realtime=+1h", "300ms"));
                let fault = &ended["faults"][0];
                if fault["ended"].is_null() && !ended.is_null() {
                    assert_eq!(fault["counters"]["injected"], 1, "{ended}");
                    assert!(!is_patched(pid), "its bytes are not back");
                } else {
                    // Its watchdog has killed the tender: this machine had no processor for it for
                    // seconds. That must hurt nobody either.
                    stalls += 1;
                    eventually("its bytes are back", || !is_patched(pid));
                }
            }
            assert!(stalls <= cycles() / 2, "{stalls} of {} were none", cycles());
            for victim in [&hit, &neighbour] {
                kill(victim.id(), libc::SIGTERM);
            }
            // What is off by anything else than nothing or an hour makes it abort.
            let (truth, bent, _) = checked(hit);
            assert!(truth > 0 && bent > 0, "{threads}: {truth} {bent}");
            let (truth, bent, _) = checked(neighbour);
            assert!(truth > 0 && bent == 0, "beside {threads}: {truth} {bent}");
        }
    }

    #[test]
    fn deadline_and_lease_need_nobody() {
        require!();
        // What ends the fault, and how it is made sure that nobody helps.
        for (duration, signal, most) in [
            ("1500ms", libc::SIGSTOP, 4_000),
            ("1h", libc::SIGKILL, 9_000),
        ] {
            let target = Cgroup::new("alone");
            let hit = target.spawn(victim(), &["check", HOUR, "2", "15"]);
            let pid = hit.id();
            eventually("it runs", || is_at_work(pid));
            let holder = inject_and_wait(&target, "clock.offset:realtime=+1h", duration);
            // It reads its clock once at least.
            thread::sleep(Duration::from_millis(300));
            let mut ours = Vec::new();
            eventually("owner, tender and guard", || {
                ours = descendants(holder.id());
                ours.push(holder.id());
                ours.len() >= 3
            });
            let at = now();
            for pid in &ours {
                kill(*pid, signal);
            }
            let (_, bent, changes) = checked(hit);
            assert!(bent > 0);
            let &(is_bent, ended) = changes.last().unwrap();
            assert!(!is_bent, "{changes:?}");
            let after = ended.saturating_sub(at) / 1_000_000;
            assert!(
                after <= most,
                "{after} ms after everybody was gone: {changes:?}"
            );
            for pid in &ours {
                kill(*pid, libc::SIGKILL);
            }
            holder.wait_with_output().unwrap();
        }
    }

    #[test]
    fn what_nobody_put_back_is_put_back_by_heal() {
        require!();
        let target = Cgroup::new("heal");
        let mut hit = target.spawn(victim(), &["check", HOUR, "3", "60"]);
        let holder = inject_and_wait(&target, "clock.offset:realtime=+1h", "1h");
        for pid in descendants(holder.id()).into_iter().chain([holder.id()]) {
            kill(pid, libc::SIGKILL);
        }
        holder.wait_with_output().unwrap();
        eventually("it is let go", || !is_traced(hit.id()));
        assert!(is_patched(hit.id()), "somebody was left");
        let healed = said(&kchaos(&["heal"]));
        assert!(
            healed.contains(&format!("the vDSO of process {}", hit.id())),
            "{healed}"
        );
        assert!(!is_patched(hit.id()));
        hit.kill().unwrap();
        hit.wait().unwrap();
    }

    #[test]
    fn the_tender_or_the_guard_puts_back_what_a_killed_owner_left() {
        require!();
        for also_tender in [false, true] {
            let target = Cgroup::new("guard");
            let mut hit = target.spawn(victim(), &["check", HOUR, "3", "60"]);
            let holder = inject(&target, "clock.offset:realtime=+1h", "1h");
            eventually("patched", || is_patched(hit.id()));
            let tender = tender_of(holder.id());
            if also_tender {
                kill(tender, libc::SIGKILL);
            }
            kill(holder.id(), libc::SIGKILL);
            holder.wait_with_output().unwrap();
            eventually("put back", || !is_patched(hit.id()));
            assert!(hit.try_wait().unwrap().is_none(), "it lives");
            hit.kill().unwrap();
            hit.wait().unwrap();
        }
    }

    /// At each of its requests to the kernel in turn: nobody may be held, run on with registers of
    /// ours, or have its signals blocked for good.
    #[test]
    fn a_tender_that_is_killed_anywhere_hurts_nobody() {
        require!();
        for threads in ["1", "3"] {
            let mut killed = 0;
            for request in 1.. {
                let state = state_dir();
                let target = Cgroup::new("anywhere");
                let hit = target.spawn(victim(), &["check", HOUR, threads, "3600"]);
                let pid = hit.id();
                eventually("it runs", || is_at_work(pid));
                let mut tender = Tender::start(state.path());
                let done = tender.run_to(&order(pid), request) == Held::Done;
                tender.kill();
                eventually("nobody is held", || !is_traced(pid));
                eventually("put back", || {
                    let healed = program()
                        .arg("heal")
                        .env("KCHAOS_STATE_DIR", state.path())
                        .output()
                        .unwrap();
                    // It may be on its way back yet, on a busy machine: then it stays for now.
                    let out = String::from_utf8_lossy(&healed.stdout).into_owned();
                    let later = out.contains("on its way back from a call");
                    assert!(healed.status.success() || later, "{healed:?}");
                    !is_patched(pid)
                });
                thread::sleep(Duration::from_millis(2));
                kill(pid, libc::SIGTERM);
                let (truth, ..) = checked(hit);
                assert!(truth > 0, "request {request}, {threads} threads");
                if done {
                    break;
                }
                killed = request;
            }
            assert!(killed > 30, "{killed} requests are no patch");
        }
    }

    /// Between the look at what it has mapped, and the moment in which it stands still.
    #[test]
    fn what_it_maps_meanwhile_is_left_alone() {
        use std::{
            io::{BufRead as _, BufReader, Write as _},
            process::Stdio,
        };
        require!();
        let program = "
import ctypes, sys
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
sys.stdin.readline()
# The free place of two pages that is next to the vDSO.
lines = [line.split() for line in open('/proc/self/maps')]
maps = [[int(end, 16) for end in line[0].split('-')] for line in lines]
vdso = [at[0] for at, line in zip(maps, lines) if line[-1] == '[vdso]'][0]
gaps = [(one[1], two[0]) for one, two in zip(maps, maps[1:]) if two[0] - one[1] >= 8192]
place = min([at for gap in gaps for at in (gap[0], gap[1] - 8192)], key=lambda at: abs(at - vdso))
print('ready', flush=True)
sys.stdin.readline()
# Private, anonymous, and MAP_FIXED_NOREPLACE.
assert libc.mmap(place, 8192, 3, 0x100022, -1, 0) == place
ctypes.memset(place, 7, 8192)
print('mapped', flush=True)
sys.stdin.readline()
assert ctypes.string_at(place, 8192) == bytes([7]) * 8192
print('there', flush=True)
";
        let state = state_dir();
        let target = Cgroup::new("maps");
        let mut hit = target
            .command("python3")
            .args(["-c", program])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = hit.stdin.take().unwrap();
        let mut lines = BufReader::new(hit.stdout.take().unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap();
        stdin.write_all(b"\n").unwrap();
        assert_eq!(next(), "ready");
        let mut tender = Tender::start(state.path());
        assert_eq!(tender.run_to(&order(hit.id()), 1), Held::There);
        stdin.write_all(b"\n").unwrap();
        assert_eq!(next(), "mapped");
        let answer = tender.go_on();
        assert!(answer.contains("something else there"), "{answer}");
        stdin.write_all(b"\n").unwrap();
        assert_eq!(next(), "there");
        tender.kill();
        assert!(hit.wait().unwrap().success());
    }

    #[test]
    fn who_is_frozen_in_the_middle_of_it_holds_no_tender() {
        require!();
        let state = state_dir();
        let target = Cgroup::new("frozen");
        let hit = target.spawn(victim(), &["check", HOUR, "1", "3600"]);
        let pid = hit.id();
        eventually("it runs", || is_at_work(pid));
        let mut tender = Tender::start(state.path());
        assert_eq!(tender.run_to_first_call(&order(pid)), Held::There);
        target.freeze(true);
        let answer = tender.go_on();
        assert!(answer.contains("does not go on"), "{answer}");
        target.freeze(false);
        eventually("it is let go", || !is_traced(pid));
        tender.kill();
        kill(pid, libc::SIGTERM);
        let (truth, ..) = checked(hit);
        assert!(truth > 0);
    }

    /// Ended early, with what had been counted, and whoever was patched has its own bytes again.
    #[test]
    fn a_tender_that_has_died_ends_its_faults() {
        require!();
        let target = Cgroup::new("died");
        let hit = target.spawn(victim(), &["check", HOUR, "1", "3600"]);
        let pid = hit.id();
        eventually("it runs", || is_at_work(pid));
        let holder = inject(&target, "clock.offset:realtime=+1h", "1h");
        eventually("patched", || is_patched(pid));
        // It is told of a bent reading before.
        thread::sleep(Duration::from_secs(1));
        kill(tender_of(holder.id()), libc::SIGKILL);
        let ended = account_of_any(holder);
        let fault = &ended["faults"][0];
        assert_eq!(fault["counters"]["considered"], 1, "{ended}");
        assert_eq!(fault["counters"]["injected"], 1, "{ended}");
        let why = fault["ended"].as_str().unwrap();
        assert!(why.contains("who bends clocks has died"), "{ended}");
        eventually("put back", || !is_patched(pid));
        kill(pid, libc::SIGTERM);
        checked(hit);
    }

    /// Children that come all the time, also while others are restored one after the other.
    #[test]
    fn nobody_keeps_the_jump_who_was_forked_at_the_end() {
        require!();
        let target = Cgroup::new("forks");
        let program = "
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork() == 0:
        time.sleep(3)
        os._exit(0)
    time.sleep(0.02)
";
        let mut parent = target.spawn("python3", &["-c", program]);
        eventually("it forks", || target.members().len() > 10);
        for _ in 0..5 {
            account_of_any(inject(&target, "clock.offset:realtime=+1h", "500ms"));
            let left: Vec<u32> = target
                .members()
                .into_iter()
                .filter(|pid| is_patched(*pid))
                .collect();
            assert!(left.is_empty(), "{left:?} of {:?}", target.members());
        }
        parent.kill().unwrap();
        parent.wait().unwrap();
    }

    #[test]
    fn a_second_fault_has_evidence_and_a_ninth_is_refused() {
        require!();
        let target = Cgroup::new("many");
        let mut hit = target
            .command(victim())
            .args(["model", "0", "3600"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let many = |count: usize| {
            let target = target.target();
            let mut arguments = vec!["inject", "--json", "--target", &target];
            // Of one kind, nine would not even be an experiment.
            let kinds = ["clock.offset:realtime=+1m", "clock.step:realtime=+1m"];
            for kind in kinds.iter().cycle().take(count) {
                arguments.extend(["--fault", kind]);
            }
            arguments.extend(["--duration", "1s"]);
            kchaos(&arguments)
        };
        for count in [2, 8] {
            let out = said(&many(count));
            let ended: serde_json::Value =
                serde_json::from_str(out.lines().last().unwrap()).unwrap();
            let faults = ended["faults"].as_array().unwrap();
            assert_eq!(faults.len(), count, "{ended}");
            for fault in faults {
                for counter in ["considered", "matched", "injected"] {
                    assert_eq!(fault["counters"][counter], 1, "{counter} of {ended}");
                }
                assert_eq!(fault["uncounted"], 0, "{ended}");
            }
        }
        let refused = many(9);
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        let err = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(err.contains("8 faults of its clocks already"), "{err}");
        assert!(!is_patched(hit.id()));
        hit.kill().unwrap();
        hit.wait().unwrap();
    }

    /// A fault of an hour's length, once it is on.
    fn inject_armed(target: &Cgroup, fault: &str) -> std::process::Child {
        let mut first = target.spawn("sleep", &["3600"]);
        let holder = inject(target, fault, "1h");
        eventually("armed", || is_patched(first.id()));
        first.kill().unwrap();
        first.wait().unwrap();
        holder
    }

    /// Whether a thread of it is somebody's.
    fn is_traced(pid: u32) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.flatten().any(|task| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            !status.contains("TracerPid:\t0\n") && !status.is_empty()
        })
    }

    #[test]
    fn who_comes_later_is_found() {
        require!();
        let target = Cgroup::new("later");
        let holder = inject_armed(&target, "clock.offset:realtime=+1h");
        // How soon is a matter of a quiet machine, and the long form's.
        let (seconds, patience_ms) = if std::env::var_os("KCHAOS_LONG").is_some() {
            (1.5, 500)
        } else {
            (6.0, 5000)
        };
        let check = format!("{} check {HOUR} 1 {seconds}", victim());
        let script = format!("{check}; exec {check}");
        let output = target.command("sh").args(["-c", &script]).output().unwrap();
        let out = said(&output);
        // Since when the program that speaks has read true times; the second one may never do so.
        let mut since = None;
        for line in out.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            match fields.as_slice() {
                ["true", at] => since = Some(at.parse::<u64>().unwrap()),
                ["bent", at] => {
                    let from = since.take();
                    let late = from.map_or(0, |from| at.parse::<u64>().unwrap() - from) / 1_000_000;
                    assert!(late <= patience_ms, "{late} ms: {out}");
                }
                _ => {}
            }
        }
        assert_eq!(out.matches("bent").count(), 2, "{out}");
        kill(holder.id(), libc::SIGTERM);
        let ended = account_of_any(holder);
        assert!(
            ended["faults"][0]["uncounted"].as_u64().unwrap() >= 2,
            "{ended}"
        );
    }

    #[test]
    fn every_program_of_a_command_is_bent_from_its_first_instruction() {
        require!();
        let programs = if std::env::var_os("KCHAOS_LONG").is_some() {
            10_000
        } else {
            200
        };
        // fork and exec, a pipe, a subshell, timeout, vfork, and a job that is stopped and goes on.
        let script = format!(
            "for i in $(seq {programs}); do date +%Y; done
(date +%Y) | cat
timeout 5 date +%Y
python3 -c 'import subprocess; subprocess.run([\"date\", \"+%Y\"], close_fds=False)'
sleep 60 & job=$!
kill -STOP $job; sleep 0.1; grep -q 'State:.[Tt]' /proc/$job/status && echo 9999
kill -CONT $job; sleep 0.1; grep -q 'State:.S' /proc/$job/status && echo 9999
kill $job; wait $job; echo $((9000 + $?))"
        );
        let fault = "clock.offset:realtime=+10000d";
        let ran = kchaos(&[
            "run", "--json", "--fault", fault, "--", "bash", "-c", &script,
        ]);
        let out = said(&ran);
        let years: Vec<u32> = out.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(years.len(), programs + 6, "{out}");
        assert!(years.iter().all(|year| *year >= 2047), "{out}");
        assert_eq!(years.last(), Some(&(9000 + 128 + 15)), "{out}");
        let err = String::from_utf8_lossy(&ran.stderr).into_owned();
        let account: serde_json::Value = serde_json::from_str(err.lines().last().unwrap()).unwrap();
        assert_eq!(account["faults"][0]["uncounted"], 0, "{account}");
    }

    #[test]
    fn a_command_goes_on_when_who_follows_it_is_killed_or_held() {
        require!();
        for signal in [libc::SIGKILL, libc::SIGSTOP] {
            let fault = "clock.offset:realtime=+1h";
            let script =
                "for i in 1 2 3 4 5 6 7 8; do sleep 0.3; date +%s >/dev/null; done; echo all";
            let mut command = program();
            let arguments = [
                "run",
                "--allow-no-hit",
                "--fault",
                fault,
                "--",
                "bash",
                "-c",
                script,
            ];
            command.args(arguments).stdout(std::process::Stdio::piped());
            let run = command.spawn().unwrap();
            let tender = tender_of(run.id());
            // The command has begun, or is about to: both must go well.
            thread::sleep(Duration::from_millis(700));
            kill(tender, signal);
            let output = run.wait_with_output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "all\n",
                "{output:?}"
            );
            kill(tender, libc::SIGKILL);
        }
    }

    /// A child of vfork has the memory of its parent until its exec.
    #[test]
    fn children_of_vfork_are_found_as_well() {
        require!();
        let target = Cgroup::new("vfork");
        // It uses vfork, or posix_spawn.
        let program = "
import subprocess, sys
for _ in range(20):
    out = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, close_fds=False).stdout
    sys.stdout.write(out.splitlines()[-2] + '\\n')
";
        let holder = inject_armed(&target, "clock.offset:realtime=+1h");
        let output = target
            .command("python3")
            .args(["-c", program, victim(), "check", HOUR, "1", "0.6"])
            .output()
            .unwrap();
        kill(holder.id(), libc::SIGTERM);
        holder.wait_with_output().unwrap();
        let out = said(&output);
        assert_eq!(
            out.lines().filter(|line| line.starts_with("bent")).count(),
            20,
            "{out}"
        );
    }

    #[test]
    fn each_kind_bends_as_it_says() {
        require!();
        // Kernel, reading, kernel.
        let lines = |fault: &str, clock: &str| -> Vec<[i64; 3]> {
            let output = program()
                .args([
                    "run",
                    "--fault",
                    fault,
                    "--",
                    victim(),
                    "model",
                    clock,
                    "1.2",
                ])
                .output()
                .unwrap();
            let line = |line: &str| {
                let numbers: Vec<i64> = line.split(' ').map(|it| it.parse().unwrap()).collect();
                <[i64; 3]>::try_from(numbers).unwrap()
            };
            said(&output).lines().map(line).collect()
        };
        let (realtime, monotonic, raw, boottime) = ("0", "1", "4", "7");
        for clock in [monotonic, raw, boottime] {
            let fault = "clock.speed:monotonic+boottime=0.5";
            let all = lines(fault, clock);
            let [first, .., last] = all.as_slice() else {
                panic!("{all:?}")
            };
            // Half as much, less what passed between the readings of the kernel.
            let (lower, most) = ((last[0] - first[2]) / 2, (last[2] - first[0]) / 2);
            let went = last[1] - first[1];
            assert!(
                (lower - 1000..=most + 1000).contains(&went),
                "{clock}: {lower} {went} {most}"
            );
            assert!(
                all.windows(2).all(|pair| pair[0][1] <= pair[1][1]),
                "{clock} ran backwards"
            );
        }
        let frozen = lines("clock.freeze:realtime+monotonic", realtime);
        assert!(
            frozen.iter().all(|line| line[1] == frozen[0][1]),
            "{frozen:?}"
        );
        let fast = lines("clock.speed:realtime=10", realtime);
        let ([first, .., last], all) = (fast.as_slice(), &fast) else {
            panic!("{fast:?}")
        };
        let went = last[1] - first[1];
        let (lower, most) = ((last[0] - first[2]) * 10, (last[2] - first[0]) * 10);
        assert!((lower - 10_000..=most + 10_000).contains(&went), "{all:?}");
        let steps = lines("clock.step:realtime=+10s,every=500ms,times=2", realtime);
        let mut offs: Vec<i64> = steps
            .iter()
            .map(|line| (line[1] - line[0] + 5_000_000_000) / 10_000_000_000)
            .collect();
        offs.dedup();
        assert_eq!(offs, [1, 2], "{steps:?}");
    }

    #[test]
    fn faults_add_up_and_come_apart() {
        require!();
        let (half, hour) = ("clock.offset:realtime=+30m", "3600000000000");
        let late = "clock.offset:realtime=+30m,duration=1500ms";
        let ran = kchaos(&[
            "run",
            "--fault",
            half,
            "--fault",
            half,
            "--",
            victim(),
            "check",
            hour,
            "1",
            "0.3",
        ]);
        assert!(said(&ran).contains("done 0 "), "{ran:?}");
        // One of two ends: what is left is half of it.
        let ran = kchaos(&[
            "run",
            "--fault",
            half,
            "--fault",
            late,
            "--",
            victim(),
            "model",
            "0",
            "3",
        ]);
        let off = |line: &str| {
            let numbers: Vec<i64> = line.split(' ').map(|it| it.parse().unwrap()).collect();
            (numbers[1] - numbers[0]) / 60_000_000_000
        };
        let mut offs: Vec<i64> = said(&ran).lines().map(off).collect();
        offs.dedup();
        assert_eq!(offs, [60, 30]);
    }

    #[test]
    fn a_second_kchaos_is_refused() {
        require!();
        let target = Cgroup::new("both");
        let mut hit = target.spawn(victim(), &["check", HOUR, "1", "60"]);
        let first = inject(&target, "clock.offset:realtime=+1h", "1h");
        eventually("patched", || is_patched(hit.id()));
        let refused = inject(&target, "clock.offset:realtime=+1h", "1s");
        let refused = refused.wait_with_output().unwrap();
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        kill(first.id(), libc::SIGTERM);
        account_of_any(first);
        assert!(!is_patched(hit.id()));
        hit.kill().unwrap();
        hit.wait().unwrap();
    }

    /// Bare, bent and by a system call in one process, in turn: the least of each.
    #[test]
    fn a_reading_costs_about_what_it_costs_without() {
        require!();
        let target = Cgroup::new("cost");
        let hit = target.spawn(victim(), &["cost", HOUR, "3600"]);
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(300));
            account(inject(&target, "clock.offset:realtime=+1h", "300ms"));
        }
        kill(hit.id(), libc::SIGTERM);
        let out = said(&hit.wait_with_output().unwrap());
        let picoseconds: Vec<u64> = out
            .trim()
            .split(' ')
            .map(|it| it.parse().unwrap())
            .collect();
        let [bare, bent, call] = picoseconds[..] else {
            panic!("{out}")
        };
        // For whoever wants the figures: `--nocapture`.
        eprintln!("a reading takes {bare} ps, bent {bent} ps, by a system call {call} ps");
        assert!(bent < bare * 3 / 2, "{out}");
        assert!(bent < call / 2, "{out}");
    }

    #[test]
    fn programs_in_other_languages_see_it() {
        require!();
        let year = |offset: &str, command: &[&str]| {
            let fault = format!("clock.offset:realtime={offset}");
            let mut arguments = vec!["run", "--fault", &fault, "--"];
            arguments.extend(command);
            said(&kchaos(&arguments)).trim().to_owned()
        };
        let there = |program: &str| {
            Command::new(program)
                .arg("--version")
                .output()
                .is_ok_and(|ran| ran.status.success())
        };
        // 10,000 days from 2020 on is after 2047.
        let ahead = "+10000d";
        let late = |year: &str| year.parse::<i32>().unwrap_or_else(|_| panic!("{year}")) >= 2047;
        assert!(late(&year(ahead, &["date", "+%Y"])));
        if there("python3") {
            let program = "import time; print(time.localtime().tm_year)";
            assert!(late(&year(ahead, &["python3", "-c", program])));
        }
        if there("node") {
            assert!(late(&year(
                ahead,
                &["node", "-e", "console.log(new Date().getFullYear())"]
            )));
        }
        if there("perl") {
            assert!(late(&year(
                ahead,
                &["perl", "-e", "print((localtime)[5] + 1900)"]
            )));
        }
        if let Some(program) = go_program() {
            assert!(late(&year(ahead, &[&program])));
        }
    }

    /// A static Go program that prints the year, after it has slept: its sleep must end.
    fn go_program() -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("year.go");
        let program = format!("{}/clock-year-go", env!("CARGO_TARGET_TMPDIR"));
        let text = "package main
import (\"fmt\"; \"time\")
func main() { time.Sleep(20 * time.Millisecond); fmt.Println(time.Now().Year()) }
";
        std::fs::write(&source, text).unwrap();
        let built = Command::new("go")
            .args(["build", "-o", &program])
            .arg(&source)
            .env("GOCACHE", folder.path())
            .env("GO111MODULE", "off")
            .output();
        built
            .is_ok_and(|built| built.status.success())
            .then_some(program)
    }
}
