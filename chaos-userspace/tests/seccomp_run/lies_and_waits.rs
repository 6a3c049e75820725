//! `syscall.return` and `syscall.delay`.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::lab::{Lab, injected, is_alive, kill, number, send, wait_until};

fn count(account: &Value, fault: usize, name: &str) -> i64 {
    account["faults"][fault]["counters"][name].as_i64().unwrap()
}

/// Milliseconds and errno of each call of `timed`.
fn timed(said: &str) -> Vec<(u64, i32)> {
    said.split_whitespace()
        .map(|word| {
            let (time, errno) = word.split_once(':').unwrap();
            (time.parse().unwrap(), errno.parse().unwrap())
        })
        .collect()
}

#[test]
fn a_write_that_lies_leaves_no_byte() {
    let lab = Lab::new();
    let ran = lab.run(&["syscall.return:write=100,when=3"], &["tens", "4"]);
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (0, "10 10 100 10\n"),
        "{ran:?}"
    );
    assert_eq!(lab.read("file"), "000000000011111111113333333333");
    let account = ran.account();
    assert_eq!(injected(&account), 1);
    // The fifth is the victim's own account.
    assert_eq!(count(&account, 0, "considered"), 5);
    assert_eq!(account["faults"][0]["trail"]["ordinals"], json!([3]));
    assert_eq!(
        account["faults"][0]["word"],
        "syscall.return:write=100,when=3"
    );
}

#[test]
fn a_read_that_returns_0_is_the_end() {
    let lab = Lab::new();
    lab.write("food", "012345");
    // Its own calls begin with the dynamic loader's, which reads too.
    let plain = lab.run(&["syscall.return:read=0,shadow=true"], &["eat"]);
    assert_eq!(plain.out, "eaten=6\n", "{plain:?}");
    let all = count(&plain.account(), 0, "wouldInject");
    // The last one finds the end; three before that there are three bytes left.
    let fault = format!("syscall.return:read=0,when={}", all - 3);
    let ran = lab.run(&[&fault], &["eat"]);
    assert_eq!(ran.out, "eaten=3\n", "{ran:?}");
    assert_eq!(injected(&ran.account()), 1);
}

#[test]
fn every_value_of_the_range_is_returned() {
    let lab = Lab::new();
    for value in ["0", "1", "4096", "2147483647"] {
        let fault = format!("syscall.return:write={value},times=1");
        let ran = lab.run(&[&fault], &["tens", "2"]);
        assert_eq!(ran.out, format!("{value} 10\n"), "{ran:?}");
    }
}

#[test]
fn errors_and_lies_on_one_call_are_decided_in_their_order() {
    let lab = Lab::new();
    let faults = [
        "syscall.return:fsync=7,when=2",
        "syscall.error:fsync=EIO,times=2",
        "syscall.return:fsync=0",
    ];
    let ran = lab.run(&faults, &["timed", "4"]);
    // Anything but 0 is none of fsync's results; its victim then looks at an errno that nobody set.
    let errnos: Vec<i32> = timed(&ran.out).iter().map(|(_, errno)| *errno).collect();
    assert_eq!((errnos[0], errnos[2], errnos[3]), (libc::EIO, libc::EIO, 0));
    let account = ran.account();
    let injected = |fault| count(&account, fault, "injected");
    assert_eq!(
        [injected(0), injected(1), injected(2)],
        [1, 2, 1],
        "{ran:?}"
    );
}

#[test]
fn a_call_waits_and_is_done_then() {
    let lab = Lab::new();
    let ran = lab.run(
        &["syscall.delay:fsync=200ms,when=2,times=1"],
        &["timed", "3"],
    );
    let calls = timed(&ran.out);
    assert!(calls.iter().all(|(_, errno)| *errno == 0), "{ran:?}");
    assert!((200..1500).contains(&calls[1].0), "{ran:?}");
    assert!(calls[0].0 < 200 && calls[2].0 < 200, "{ran:?}");
    let account = ran.account();
    assert_eq!(injected(&account), 1);
    assert_eq!(account["faults"][0]["trail"]["ordinals"], json!([2]));
    assert_eq!(
        account["faults"][0]["trail"]["events"][0]["comm"], "test",
        "{account}"
    );
}

#[test]
fn threads_wait_at_the_same_time() {
    let lab = Lab::new();
    let ran = lab.run(&["syscall.delay:fsync=1s"], &["at-once", "40"]);
    assert!(number(&ran.out, "least") >= 1000, "{ran:?}");
    assert!(number(&ran.out, "all") < 2000, "{ran:?}");
    assert_eq!(number(&ran.out, "ok"), 40);
    assert_eq!(injected(&ran.account()), 40);
}

#[test]
fn who_is_not_delayed_goes_on() {
    let lab = Lab::new();
    let faults = ["syscall.delay:fsync=2s", "syscall.error:fdatasync=EIO@50%"];
    let ran = lab.run(&faults, &["beside"]);
    assert!(number(&ran.out, "others") < 1500, "{ran:?}");
    assert!(number(&ran.out, "one") >= 2000, "{ran:?}");
    let account = ran.account();
    assert_eq!(count(&account, 1, "injected"), number(&ran.out, "errors"));
    assert_eq!(count(&account, 1, "considered"), 200);
}

#[test]
fn delays_add_up_and_an_error_comes_after_them() {
    let lab = Lab::new();
    let faults = [
        "syscall.delay:fsync=150ms",
        "syscall.error:fsync=EIO,when=2",
        // Asked although an error was decided before it.
        "syscall.delay:fsync=100ms,when=2+",
        "syscall.error:fsync=ENOSPC,when=2+",
    ];
    let ran = lab.run(&faults, &["timed", "3"]);
    let calls = timed(&ran.out);
    let wanted = [(150, 0), (250, libc::EIO), (250, libc::ENOSPC)];
    for ((time, errno), (least, wanted)) in calls.iter().zip(wanted) {
        assert!(*time >= least && *time < least + 1000, "{ran:?}");
        assert_eq!(*errno, wanted, "{ran:?}");
    }
    assert!(calls[0].0 < 240, "{ran:?}");
    let account = ran.account();
    let injected = |fault| count(&account, fault, "injected");
    assert_eq!(
        (injected(0), injected(1), injected(2), injected(3)),
        (3, 1, 2, 1)
    );
    // The one that was ended by an earlier error is none of its events.
    assert_eq!(count(&account, 3, "considered"), 2);
}

#[test]
fn each_thread_has_its_own_third_wait() {
    let lab = Lab::new();
    let begin = Instant::now();
    let ran = lab.run(
        &["syscall.delay:fsync=500ms,when=3,scope=thread"],
        &["thirds", "8"],
    );
    assert!(begin.elapsed() >= Duration::from_millis(500));
    assert_eq!(ran.out, "thirds=0 others=0\n", "{ran:?}");
    assert_eq!(injected(&ran.account()), 8);
    let shadow = lab.run(&["syscall.delay:fsync=1h,shadow=true"], &["timed", "2"]);
    assert_eq!(count(&shadow.account(), 0, "wouldInject"), 2, "{shadow:?}");
}

#[test]
fn nobody_waits_longer_than_the_fault_lives() {
    let lab = Lab::new();
    let faults = [
        "syscall.delay:fsync=1m,duration=700ms",
        // It has ended when the call has waited.
        "syscall.error:fsync=EIO,duration=300ms",
    ];
    let ran = lab.run(&faults, &["at-once", "3"]);
    // The machine may be busy; a minute was asked for.
    assert!((300..3000).contains(&number(&ran.out, "least")), "{ran:?}");
    assert!(number(&ran.out, "most") < 5000, "{ran:?}");
    assert_eq!((number(&ran.out, "ok"), number(&ran.out, "eio")), (3, 0));
    let account = ran.account();
    assert_eq!((injected(&account), count(&account, 1, "injected")), (3, 0));
    assert_eq!(count(&account, 1, "matched"), 3);
}

#[test]
fn who_waits_is_let_go_when_faults_are_forbidden() {
    let lab = Lab::new();
    let faults = ["syscall.delay:fsync=1m", "syscall.error:fsync=EIO"];
    let running = lab.start(&faults, &["at-once", "5"]);
    lab.said("begun");
    thread::sleep(Duration::from_millis(300));
    lab.forbid();
    let ran = running.wait();
    assert!(number(&ran.out, "least") >= 100, "{ran:?}");
    assert!(number(&ran.out, "most") < 10_000, "{ran:?}");
    assert_eq!((number(&ran.out, "ok"), number(&ran.out, "eio")), (5, 0));
    let account = ran.account();
    assert_eq!((injected(&account), count(&account, 1, "injected")), (5, 0));
    for fault in account["faults"].as_array().unwrap() {
        assert_eq!(fault["ended"], "faults are forbidden on this machine now");
    }
}

#[test]
fn who_waits_is_let_go_when_kchaos_is_killed() {
    let lab = Lab::new();
    let running = lab.start(&["syscall.delay:fsync=1m"], &["asleep"]);
    let pids = lab.said("pids");
    let pid = |name: &str| u32::try_from(number(&pids, name)).unwrap();
    let (command, detached) = (pid("command"), pid("detached"));
    let guards = running.guards();
    thread::sleep(Duration::from_millis(300));
    assert!(is_alive(command) && is_alive(detached));
    kill(running.kchaos());
    let woken = lab.said("woken");
    assert_eq!(number(&woken, "errno"), 0, "{woken}");
    assert!((200..10_000).contains(&number(&woken, "time")), "{woken}");
    wait_until("the session has ended", || !is_alive(command));
    wait_until("the guard has ended", || !is_alive(guards[0]));
}

#[test]
fn who_waits_is_let_go_when_kchaos_is_held() {
    let lab = Lab::new();
    let running = lab.start(&["syscall.delay:fsync=1m"], &["at-once", "2"]);
    lab.said("begun");
    thread::sleep(Duration::from_millis(100));
    send(running.kchaos(), libc::SIGSTOP);
    thread::sleep(Duration::from_secs(7));
    send(running.kchaos(), libc::SIGCONT);
    let ran = running.wait();
    // The lease, and not the sixty seconds.
    assert!((4000..6900).contains(&number(&ran.out, "most")), "{ran:?}");
    assert_eq!(injected(&ran.account()), 2);
}

#[test]
fn what_a_command_leaves_is_let_go() {
    let lab = Lab::new();
    let script = "(setsid sync file; echo $? >left) & sleep 0.5; echo over";
    let begin = Instant::now();
    let ran = lab.run_command(
        &["syscall.delay:fsync=1m"],
        &[],
        &["bash", "-c", &format!("({script}) 2>/dev/null")],
    );
    assert!(ran.out.contains("over"), "{ran:?}");
    assert_eq!(injected(&ran.account()), 1, "{ran:?}");
    assert_eq!(lab.said("left"), "0\n");
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn who_is_killed_while_it_waits_holds_nobody_up() {
    let lab = Lab::new();
    let ran = lab.run(&["syscall.delay:fsync=2s"], &["killed", "20"]);
    assert_eq!(number(&ran.out, "signalled"), 20, "{ran:?}");
    assert_eq!(number(&ran.out, "errno"), 0);
    assert!((2000..4000).contains(&number(&ran.out, "time")), "{ran:?}");
    assert_eq!(injected(&ran.account()), 21, "{ran:?}");
}

#[test]
fn a_successor_knows_who_waits() {
    let lab = Lab::new();
    let faults = ["syscall.delay:fsync=1500ms", "syscall.error:fsync=EIO@50%"];
    let running = lab.start(&faults, &["at-once", "40"]);
    lab.said("begun");
    let until = Instant::now() + Duration::from_millis(1200);
    let mut killed = 0;
    while Instant::now() < until {
        for guard in running.guards() {
            kill(guard);
            killed += 1;
            wait_until("it is gone", || !is_alive(guard));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let ran = running.wait();
    assert!(killed > 5, "{killed}");
    assert!((1500..4000).contains(&number(&ran.out, "least")), "{ran:?}");
    assert_eq!(number(&ran.out, "ok") + number(&ran.out, "eio"), 40);
    let account = ran.account();
    assert_eq!(injected(&account), 40, "{ran:?}");
    assert_eq!(count(&account, 1, "injected"), number(&ran.out, "eio"));
}

#[test]
fn a_delay_is_for_commands_only() {
    let lab = Lab::new();
    let fault = "syscall.delay:fsync=1s,exclude=/a";
    let ran = lab.run(&[fault], &["timed", "1"]);
    assert_eq!(ran.status, 125, "{ran:?}");
    assert!(ran.err.contains("syscallDelay.exclude"), "{ran:?}");
}
