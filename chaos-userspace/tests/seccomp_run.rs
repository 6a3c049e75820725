//! `kchaos run` with faults of system calls by a seccomp filter, on this host and without privileges.
//!
//! The command is this test program itself, which acts as a victim before its `main`: so that it
//! makes no call but those that are asked of it.

#[cfg(test)]
#[path = "seccomp_run/databases.rs"]
mod databases;
#[cfg(test)]
#[path = "seccomp_run/lab.rs"]
mod lab;
#[cfg(test)]
#[path = "seccomp_run/lies_and_waits.rs"]
mod lies_and_waits;
#[cfg(test)]
#[path = "seccomp_run/slow.rs"]
mod slow;
#[cfg(test)]
#[path = "seccomp_run/surroundings.rs"]
mod surroundings;
#[cfg(test)]
#[path = "seccomp_run/victim.rs"]
mod victim;

#[cfg(test)]
mod tests {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use crate::lab::{Lab, injected, is_alive, kill, number, send, wait_until};

    #[test]
    fn the_third_of_all_fails_and_no_other() {
        let lab = Lab::new();
        let ran = lab.run(&["syscall.error:fsync=EIO,when=3"], &["fsyncs", "5"]);
        assert_eq!(
            (ran.status, ran.out.as_str()),
            (0, "0 0 5 0 0\n"),
            "{ran:?}"
        );
        let fault = &ran.account()["faults"][0];
        assert_eq!(fault["mechanism"], "seccomp-notify");
        assert_eq!(fault["trail"]["ordinals"], serde_json::json!([3]));
        assert_eq!(fault["trail"]["events"][0]["comm"], "test");
        assert_eq!(fault["counters"]["considered"], 5);
    }

    /// What has no id in a file, and what can have none in a word, get different ones. The second does not see what
    /// the first has hit.
    #[test]
    fn an_experiment_and_words_of_one_kind_go_together() {
        let lab = Lab::new();
        let file = lab.file(
            "experiment.yaml",
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {name: both}
spec:
  duration: 1m
  faults:
  - syscallError: {ops: [fsync], errno: EIO, when: 3}
",
        );
        let ran = lab.run_command(
            &["syscall.error:fsync=ENOSPC,when=4"],
            &["-f", &file],
            &["./test", "fsyncs", "5"],
        );
        assert_eq!(
            (ran.status, ran.out.as_str()),
            (0, "0 0 5 0 28\n"),
            "{ran:?}"
        );
        let ids = [0, 1].map(|fault| ran.account()["faults"][fault]["fault"].clone());
        assert_eq!(ids, ["syscall.error", "syscall.error-2"]);
    }

    #[test]
    fn descendants_are_counted_with_the_command() {
        let lab = Lab::new();
        let script = "for i in 1 2 3 4 5; do sync file && echo $i; done 2>/dev/null; :";
        let ran = lab.run_command(
            &["syscall.error:fsync=EIO,when=3"],
            &[],
            &["sh", "-c", script],
        );
        assert_eq!(
            (ran.status, ran.out.as_str()),
            (0, "1\n2\n4\n5\n"),
            "{ran:?}"
        );
    }

    #[test]
    fn calls_that_everything_needs_can_be_asked_about() {
        let lab = Lab::new();
        let all =
            "read+write+close+openat+sendmsg+recvmsg+futex+clone3+clone+wait4+mmap+ioctl+poll";
        let fault = format!("syscall.error:{all}=EIO,when=1000000");
        let script = "echo one | cat; (echo two >&2) 2>&1; wait; echo three";
        let ran = lab.run_command(&[&fault], &["--allow-no-hit"], &["sh", "-c", script]);
        assert_eq!(
            (ran.status, ran.out.as_str()),
            (0, "one\ntwo\nthree\n"),
            "{ran:?}"
        );
        let ran = lab.run(
            &[&fault, "syscall.error:futex=EAGAIN@50%"],
            &["threads", "8", "50"],
        );
        assert_eq!(number(&ran.out, "ok"), 400, "{ran:?}");
    }

    #[test]
    fn the_first_call_that_counts_is_the_commands_own() {
        let lab = Lab::new();
        let ran = lab.run(&["syscall.error:write=ENOSPC,when=1"], &["writes"]);
        assert_eq!((ran.status, ran.out.as_str()), (0, "second\n"), "{ran:?}");
        // What the child says when there is no such command is none of it.
        let ran = lab.run_command(&["syscall.error:write+close+read=EIO"], &[], &["/no/such"]);
        assert_eq!(ran.status, 127, "{ran:?}");
    }

    #[test]
    fn an_injection_of_strace_counts_each_thread_for_itself() {
        let lab = Lab::new();
        let ran = lab.run_command(
            &[],
            &[
                "--strace",
                "fsync,fdatasync:error=EIO:when=2",
                "--allow-no-hit",
            ],
            &["./test", "threads", "4", "5"],
        );
        assert_eq!(number(&ran.out, "eio"), 4, "{ran:?}");
        assert_eq!(number(&ran.out, "ok"), 16, "{ran:?}");
        let ran = lab.run_command(&[], &[], &["true"]);
        assert_eq!(ran.status, 125, "{ran:?}");
        assert!(
            ran.err.contains("no fault: say one with --fault"),
            "{ran:?}"
        );
    }

    #[test]
    fn a_replay_hits_what_was_hit() {
        let lab = Lab::new();
        let first = lab.run(&["syscall.error:fsync=EIO@30%"], &["fsyncs", "40"]);
        let hit = first.account()["faults"][0]["trail"]["ordinals"].clone();
        assert!(hit.as_array().unwrap().len() > 2, "{first:?}");
        let file = lab.file("first.json", &first.err);
        // Another seed, another chance.
        let again = |fault: &str| {
            let options = ["--replay", &file, "--seed", "99"];
            lab.run_command(&[fault], &options, &["./test", "fsyncs", "40"])
        };
        let second = again("syscall.error:fsync=EIO@1%");
        assert_eq!(second.out, first.out);
        assert_eq!(second.account()["faults"][0]["trail"]["ordinals"], hit);
        let other = again("syscall.error:sync=EIO");
        assert_eq!(
            other.status, 123,
            "found by its id, and hits nothing: {other:?}"
        );
        lab.file(
            "first.json",
            &first
                .err
                .replace("\"truncated\":false", "\"truncated\":true"),
        );
        let refused = again("syscall.error:fsync=EIO");
        assert_eq!(
            (refused.status, refused.out.as_str()),
            (125, ""),
            "{refused:?}"
        );
        assert!(
            refused.err.contains("more events than are recorded"),
            "{refused:?}"
        );
    }

    #[test]
    fn a_budget_is_kept_among_threads() {
        let lab = Lab::new();
        let ran = lab.run(
            &["syscall.error:fsync=EIO,times=100"],
            &["threads", "8", "200"],
        );
        assert_eq!(number(&ran.out, "eio"), 100, "{ran:?}");
        assert_eq!(number(&ran.out, "ok"), 1500, "{ran:?}");
        let account = ran.account();
        let fault = &account["faults"][0];
        assert_eq!(injected(&account), 100);
        assert_eq!(fault["counters"]["overBudget"], 1500);
        assert_eq!(fault["trail"]["ordinals"].as_array().unwrap().len(), 100);
    }

    #[test]
    fn each_thread_can_be_counted_for_itself() {
        let lab = Lab::new();
        let ran = lab.run(
            &["syscall.error:fsync=EIO,when=3,scope=thread"],
            &["thirds", "8"],
        );
        assert_eq!(number(&ran.out, "thirds"), 8, "{ran:?}");
        assert_eq!(number(&ran.out, "others"), 0, "{ran:?}");
        assert_eq!(injected(&ran.account()), 8);
    }

    #[test]
    fn chance_is_repeated_by_its_seed() {
        let lab = Lab::new();
        let draw = |seed: &str| {
            let fault = format!("syscall.error:fsync=EIO@30%,seed={seed}");
            let ran = lab.run(&[&fault], &["fsyncs", "100"]);
            let seen = ran.out.split_whitespace().filter(|it| *it == "5").count();
            assert_eq!(
                i64::try_from(seen).unwrap(),
                injected(&ran.account()),
                "{ran:?}"
            );
            assert!((10..60).contains(&seen), "{seen}");
            ran.out
        };
        let first = draw("7");
        assert_eq!(first, draw("7"));
        assert_ne!(first, draw("8"));
    }

    #[test]
    fn tasks_are_told_by_name_and_user() {
        let lab = Lab::new();
        for (filter, hits) in [
            ("comm=test", 3),
            ("comm=other", 0),
            ("thread=te", 3),
            ("thread=x", 0),
            ("uid=65534", if Lab::as_nobody() { 3 } else { 0 }),
            ("uid=65533", 0),
        ] {
            let fault = format!("syscall.error:fsync=EIO,{filter}");
            let ran = lab.run(&[&fault], &["fsyncs", "3"]);
            assert_eq!(injected(&ran.account()), hits, "{filter}: {ran:?}");
            assert_eq!(ran.status, if hits == 0 { 123 } else { 0 }, "{filter}");
        }
    }

    #[test]
    fn the_first_rule_that_injects_wins_and_shadow_only_counts() {
        let lab = Lab::new();
        let faults = [
            "syscall.error:fsync=EIO,shadow=true",
            "syscall.error:fsync=ENOSPC,when=2",
            "syscall.error:fsync+fdatasync=EDQUOT",
        ];
        let ran = lab.run(&faults, &["fsyncs", "3"]);
        let expected = format!("{0} {1} {0}\n", libc::EDQUOT, libc::ENOSPC);
        assert_eq!(ran.out, expected, "{ran:?}");
        let account = ran.account();
        let count =
            |index: usize, name: &str| account["faults"][index]["counters"][name].as_i64().unwrap();
        assert_eq!(count(0, "wouldInject"), 3);
        assert_eq!((count(1, "injected"), count(1, "matched")), (1, 3));
        assert_eq!((count(2, "injected"), count(2, "considered")), (2, 2));
    }

    #[test]
    fn time_is_kept() {
        let lab = Lab::new();
        let fault = "syscall.error:fsync=EIO,after=200ms,duration=300ms";
        let ran = lab.run(&[fault], &["during", "1000"]);
        assert_eq!(number(&ran.out, "other"), 0, "{ran:?}");
        assert_eq!(number(&ran.out, "eio"), injected(&ran.account()), "{ran:?}");
        let account = ran.account();
        assert!(
            account["faults"][0]["counters"]["expired"]
                .as_i64()
                .unwrap()
                > 0
        );
        let rate = lab.run(
            &["syscall.error:fsync=EIO,maxRate=10/1s"],
            &["during", "500"],
        );
        assert!((10..=16).contains(&number(&rate.out, "eio")), "{rate:?}");
        let up = lab.run_command(
            &["syscall.error:fsync=EIO"],
            &["--timeout", "300ms", "--allow-no-hit"],
            &["sleep", "60"],
        );
        assert_eq!(up.status, 124, "{up:?}");
    }

    #[test]
    fn when_kchaos_is_killed_faults_end_and_who_had_left_runs_on() {
        let lab = Lab::new();
        let running = lab.start(&["syscall.error:fsync=EIO"], &["family", "2500"]);
        let pids = lab.said("pids");
        let pid = |name: &str| u32::try_from(number(&pids, name)).unwrap();
        let (command, attached, detached) = (pid("command"), pid("attached"), pid("detached"));
        let [guard] = running.guards()[..] else {
            panic!("{:?}", running.guards());
        };
        thread::sleep(Duration::from_millis(200));
        kill(running.kchaos());
        wait_until("the session has ended", || {
            !is_alive(command) && !is_alive(attached)
        });
        assert!(is_alive(detached) && is_alive(guard));
        let said = lab.said("detached");
        assert_eq!(number(&said, "other"), 0, "{said}");
        assert!(
            number(&said, "eio") > 0 && number(&said, "ok") > 100,
            "{said}"
        );
        // Nobody waits for it: whether it fails once more after the kill is a matter of microseconds.
        assert_eq!(number(&said, "last"), 0, "{said}");
        wait_until("the guard has ended", || !is_alive(guard));
        assert_eq!(lab.registered(), Vec::<String>::new());
    }

    #[test]
    fn what_a_command_leaves_runs_on_unharmed() {
        let lab = Lab::new();
        let running = lab.start(&["syscall.error:fsync=EIO"], &["leave", "1500"]);
        let guards = running.guards();
        let ran = running.wait();
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(is_alive(guards[0]));
        // What is sent to everybody of a name or a group, and a limit of processor time that is spent.
        for signal in [
            libc::SIGTERM,
            libc::SIGQUIT,
            libc::SIGUSR1,
            libc::SIGALRM,
            libc::SIGXCPU,
        ] {
            // SAFETY: takes two integers.
            unsafe { libc::kill(guards[0].cast_signed(), signal) };
        }
        assert!(is_alive(guards[0]));
        let open = std::fs::read_dir(format!("/proc/{}/fd", guards[0])).unwrap();
        assert!(open.count() <= 6, "it holds what kchaos was started with");
        let said = lab.said("detached");
        assert_eq!(number(&said, "other"), 0, "{said}");
        assert_eq!(number(&said, "eio"), injected(&ran.account()), "{said}");
        assert!(number(&said, "ok") > 0, "{said}");
        wait_until("the guard has ended", || !is_alive(guards[0]));
    }

    #[test]
    fn a_guard_that_is_killed_has_a_successor() {
        let lab = Lab::new();
        let running = lab.start(&["syscall.error:fsync=EIO@50%"], &["during", "2500"]);
        lab.said("begun");
        let until = Instant::now() + Duration::from_secs(2);
        let mut killed = 0;
        while Instant::now() < until {
            for guard in running.guards() {
                kill(guard);
                killed += 1;
                wait_until("it is gone", || !is_alive(guard));
            }
            thread::sleep(Duration::from_millis(20));
        }
        let ran = running.wait();
        assert!(killed > 10, "{killed}");
        assert_eq!(number(&ran.out, "other"), 0, "{ran:?}");
        let seen = number(&ran.out, "eio");
        assert!(seen > 100, "{ran:?}");
        assert_eq!(seen, injected(&ran.account()), "{ran:?}");
    }

    #[test]
    fn a_guard_that_is_stopped_has_a_successor() {
        let lab = Lab::new();
        let running = lab.start(&["syscall.error:fsync=EIO@50%"], &["during", "1500"]);
        lab.said("begun");
        let guard = running.guards()[0];
        send(guard, libc::SIGSTOP);
        wait_until("it has been ended", || !is_alive(guard));
        let ran = running.wait();
        assert_eq!(number(&ran.out, "other"), 0, "{ran:?}");
        assert!(number(&ran.out, "ok") > 100, "{ran:?}");
        assert_eq!(number(&ran.out, "eio"), injected(&ran.account()), "{ran:?}");
    }

    #[test]
    fn callers_that_are_killed_or_stopped_hold_nobody_up() {
        let lab = Lab::new();
        let script = "for i in $(seq 200); do (sync file) & done; kill -9 $(jobs -p); wait; \
                      for i in $(seq 50); do sync file & kill -STOP $!; kill -CONT $!; done; wait; \
                      echo done";
        let command = ["bash", "-c", script];
        let ran = lab.run_command(
            &["syscall.error:fsync+clone+read=EINTR@1%"],
            &["--allow-no-hit"],
            &command,
        );
        assert!(ran.status != 124, "{ran:?}");
    }

    #[test]
    fn nothing_is_armed_where_it_is_forbidden() {
        let lab = Lab::new();
        lab.forbid();
        let ran = lab.run(&["syscall.error:fsync=EIO"], &["fsyncs", "1"]);
        assert_eq!((ran.status, ran.out.as_str()), (125, ""), "{ran:?}");
        assert!(ran.err.contains("DISABLED"), "{ran:?}");
    }

    #[test]
    fn what_a_filter_cannot_do_is_refused() {
        let lab = Lab::new();
        for (fault, reason) in [
            ("syscall.error:fsync=EIO,exclude=/a", "knows no cgroups"),
            ("syscall.error:fsync=EIO,mechanism=lsm", "needs CAP_BPF"),
        ] {
            let ran = lab.run(&[fault], &["fsyncs", "1"]);
            assert_eq!(ran.status, 125, "{ran:?}");
            if Lab::as_nobody() || !fault.contains("lsm") {
                assert!(ran.err.contains(reason), "{ran:?}");
            }
        }
        // One command can have one filter with a listener only.
        let inner = [
            lab.kchaos(),
            "run",
            "--fault",
            "syscall.error:fsync=EIO",
            "--",
            "true",
        ];
        let ran = lab.run_command(&["syscall.error:fsync=EIO"], &["--allow-no-hit"], &inner);
        assert_eq!(ran.status, 125, "{ran:?}");
        assert!(ran.err.contains("one only"), "{ran:?}");
    }

    #[test]
    fn every_number_is_an_errno() {
        let lab = Lab::new();
        let ran = lab.run(&["syscall.error:fsync=EHWPOISON,times=1"], &["fsyncs", "2"]);
        assert_eq!(ran.out, "133 0\n", "{ran:?}");
    }
}
