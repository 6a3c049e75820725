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
            Cgroup, KCHAOS, account, checked, descendants, eventually, inject, is_patched, kchaos,
            kill, missing, now, said, static_victim, victim,
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
            thread::sleep(Duration::from_millis(100));
            for _ in 0..cycles() {
                let ended = account(inject(&target, "clock.offset:realtime=+1h", "200ms"));
                let counters = &ended["faults"][0]["counters"];
                assert_eq!(counters["injected"], 1, "{ended}");
                assert!(!is_patched(pid), "its bytes are not back");
            }
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
            ("1500ms", libc::SIGSTOP, 2_000),
            ("1h", libc::SIGKILL, 6_000),
        ] {
            let target = Cgroup::new("alone");
            let hit = target.spawn(victim(), &["check", HOUR, "2", "15"]);
            let pid = hit.id();
            let holder = inject(&target, "clock.offset:realtime=+1h", duration);
            eventually("patched", || is_patched(pid));
            thread::sleep(Duration::from_millis(300));
            let ours: Vec<u32> = descendants(holder.id())
                .into_iter()
                .chain([holder.id()])
                .collect();
            assert!(ours.len() >= 3, "owner, tender and guard: {ours:?}");
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
        let holder = inject(&target, "clock.offset:realtime=+1h", "1h");
        eventually("patched", || is_patched(hit.id()));
        thread::sleep(Duration::from_millis(100));
        for pid in descendants(holder.id()).into_iter().chain([holder.id()]) {
            kill(pid, libc::SIGKILL);
        }
        holder.wait_with_output().unwrap();
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
            thread::sleep(Duration::from_millis(300));
            let tender = descendants(holder.id()).into_iter().find(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.windows(12).any(|part| part == b"clock-tender")
            });
            if also_tender {
                kill(tender.unwrap(), libc::SIGKILL);
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
                let state = tempfile::tempdir().unwrap();
                let target = Cgroup::new("anywhere");
                let hit = target.spawn(victim(), &["check", HOUR, threads, "3600"]);
                let pid = hit.id();
                eventually("it runs", || descendants(pid).is_empty() && is_at_work(pid));
                let mut tender = Tender::start(state.path());
                let done = tender.run_to(&order(pid), request) == Held::Done;
                tender.kill();
                eventually("nobody is held", || !is_traced(pid));
                eventually("put back", || {
                    let healed = Command::new(KCHAOS)
                        .arg("heal")
                        .env("KCHAOS_STATE_DIR", state.path())
                        .output()
                        .unwrap();
                    assert!(healed.status.success(), "{healed:?}");
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

    #[test]
    fn who_is_frozen_in_the_middle_of_it_holds_no_tender() {
        require!();
        let state = tempfile::tempdir().unwrap();
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

    /// Whether a thread of it is somebody's.
    fn is_traced(pid: u32) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.flatten().any(|task| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            !status.contains("TracerPid:\t0\n") && !status.is_empty()
        })
    }

    /// Whether a victim handles its signals yet.
    fn is_at_work(pid: u32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask & 1 << (libc::SIGTERM - 1) != 0)
    }

    #[test]
    fn who_comes_later_is_found() {
        require!();
        let target = Cgroup::new("later");
        let holder = inject(&target, "clock.offset:realtime=+1h", "3s");
        thread::sleep(Duration::from_millis(500));
        let script = format!(
            "{} check {HOUR} 1 0.5; exec {} check {HOUR} 1 0.5",
            victim(),
            victim()
        );
        let output = target.command("sh").args(["-c", &script]).output().unwrap();
        let out = said(&output);
        let mut last = 0;
        for line in out.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            match fields.as_slice() {
                ["true", at] => last = at.parse::<u64>().unwrap(),
                ["bent", at] if last > 0 => {
                    let late = (at.parse::<u64>().unwrap() - last) / 1_000_000;
                    assert!(late <= 50, "{late} ms: {out}");
                }
                _ => {}
            }
        }
        assert_eq!(out.matches("bent").count(), 2, "{out}");
        let ended = account(holder);
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
            let mut command = Command::new(KCHAOS);
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
            thread::sleep(Duration::from_millis(700));
            let tender = descendants(run.id()).into_iter().find(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.windows(12).any(|part| part == b"clock-tender")
            });
            kill(tender.unwrap(), signal);
            let output = run.wait_with_output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "all\n",
                "{output:?}"
            );
            kill(tender.unwrap(), libc::SIGKILL);
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
for _ in range(30):
    out = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, close_fds=False).stdout
    sys.stdout.write(out.splitlines()[-2] + '\\n')
";
        let holder = inject(&target, "clock.offset:realtime=+1h", "1h");
        thread::sleep(Duration::from_millis(500));
        let output = target
            .command("python3")
            .args(["-c", program, victim(), "check", HOUR, "1", "0.2"])
            .output()
            .unwrap();
        kill(holder.id(), libc::SIGTERM);
        holder.wait_with_output().unwrap();
        let out = said(&output);
        assert_eq!(
            out.lines().filter(|line| line.starts_with("bent")).count(),
            30,
            "{out}"
        );
    }

    #[test]
    fn each_kind_bends_as_it_says() {
        require!();
        // Kernel, reading, kernel.
        let lines = |fault: &str, clock: &str| -> Vec<[i64; 3]> {
            let output = Command::new(KCHAOS)
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
        let late = "clock.offset:realtime=+30m,duration=300ms";
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
            "0.8",
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
        let first = inject(&target, "clock.offset:realtime=+1h", "2s");
        eventually("patched", || is_patched(hit.id()));
        let refused = inject(&target, "clock.offset:realtime=+1h", "1s");
        let refused = refused.wait_with_output().unwrap();
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        account(first);
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
