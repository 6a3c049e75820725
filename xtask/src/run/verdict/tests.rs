//! Accounts that are good, and in one respect not.

use super::*;
use crate::run::account::{Counters, Experiment, Latency, Node, Status, Things};

fn quiet(requests: u64) -> Traffic {
    Traffic {
        requests,
        latency: Some(Latency { p50: 3.0, p99: 9.0 }),
        sent: 1500,
        received: 1500,
        ..Traffic::default()
    }
}

fn side(cgroup: &str) -> Side {
    Side {
        cgroup: cgroup.to_owned(),
        phases: Phase::ALL.map(|phase| (phase, quiet(300))).into(),
        logged_failures: 0,
    }
}

fn fault(id: &str, word: &str, matched: u64, injected: u64) -> Fault {
    Fault {
        id: id.to_owned(),
        word: word.to_owned(),
        target: "cgroup /demo/target".to_owned(),
        mechanism: "lsm".to_owned(),
        not_covered: vec!["files that are open already".to_owned()],
        remaining: "0s".to_owned(),
        counters: Counters {
            considered: matched + 100,
            matched,
            injected,
            error: 0,
        },
    }
}

fn links(names: Vec<String>) -> Things {
    Things {
        kind: "BPF links".to_owned(),
        names,
    }
}

/// An account of a run in which everything went as it should.
pub(in crate::run) fn good() -> Account {
    let mut target = side("/demo/target");
    let hit = target.phases.entry(Phase::During).or_default();
    hit.refused = 60;
    hit.received = 1350;
    target.logged_failures = 60;
    Account {
        kernel: "6.1.0-56-amd64".to_owned(),
        target,
        neighbour: side("/demo/neighbour"),
        experiment: Experiment {
            exit: Some(0),
            status: Status {
                name: "first-experiment".to_owned(),
                phase: "ended".to_owned(),
                outcome: Some("passed".to_owned()),
                reason: None,
                seed: 42,
                nodes: vec![Node {
                    faults: vec![
                        fault("pages", "file.error:open=EIO@20%,path=/www/", 300, 60),
                        fault("packets", "net.loss=10%,direction=ingress", 4000, 400),
                    ],
                }],
            },
        },
        daemons: Vec::new(),
        armed: vec![links(vec!["7 of program 3".to_owned()])],
        residue: vec![links(Vec::new())],
    }
}

fn failures(account: &Account) -> Vec<&'static str> {
    let checks = of(account).into_iter();
    checks
        .filter(|check| !check.passed)
        .map(|check| check.name)
        .collect()
}

#[test]
fn a_good_account_passes() {
    assert_eq!(failures(&good()), Vec::<&str>::new());
}

#[test]
fn the_wrong_one_hit_is_noticed() {
    let mut account = good();
    std::mem::swap(&mut account.target, &mut account.neighbour);
    assert_eq!(
        failures(&account),
        [
            "the target was hit",
            "the neighbour was not",
            "file errors agree exactly",
            "loss is as asked for",
        ]
    );
}

#[test]
fn one_error_of_the_neighbour_is_enough() {
    for phase in Phase::ALL {
        let mut account = good();
        let traffic = account.neighbour.phases.entry(phase).or_default();
        traffic.received -= 1;
        assert!(failures(&account).contains(&"the neighbour was not"));
    }
}

#[test]
fn one_error_too_many_or_too_few_is_noticed() {
    for injected in [59, 61] {
        let mut account = good();
        account.experiment.status.nodes[0].faults[0]
            .counters
            .injected = injected;
        assert_eq!(failures(&account), ["file errors agree exactly"]);
    }
}

#[test]
fn a_wrong_share_is_noticed() {
    let mut account = good();
    account.experiment.status.nodes[0].faults[1]
        .counters
        .injected = 500;
    assert_eq!(failures(&account), ["the kernel keeps to the share"]);
}

#[test]
fn what_stays_or_goes_on_is_noticed() {
    let mut account = good();
    account.residue[0].names.push("7 of program 3".to_owned());
    let after = account.target.phases.entry(Phase::After).or_default();
    after.received -= 1;
    assert_eq!(
        failures(&account),
        ["nothing failed after", "nothing is left of it"]
    );
}

#[test]
fn shares_are_read_off_fault_words() {
    let share = |word: &str| steady_share(&fault("x", word, 1, 1));
    assert_eq!(share("file.error:open=EIO@0.5%,path=/a"), Some(0.005));
    assert_eq!(share("net.loss=10%,direction=ingress"), Some(0.1));
    assert_eq!(share("file.error:open=EIO"), Some(1.0));
    assert_eq!(share("net.loss=10%,pulse=2s/10s"), None);
}

#[test]
fn a_look_that_sees_nothing_of_what_is_armed_proves_nothing() {
    let mut account = good();
    account.armed[0].names.clear();
    assert_eq!(failures(&account), ["what is armed is seen in the kernel"]);
}
