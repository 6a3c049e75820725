//! The commands against an agent's own unix socket.

use std::{path::Path, time::Duration};

use chaos_userspace::{
    api::proto,
    cli::{
        apply::{ApplyArgs, apply},
        client::Connect,
        ls::{LsArgs, ls},
        replay::ReplayArgs,
        show::{ShowArgs, show},
        stop::{StopArgs, stop},
        watch::{WatchArgs, watch},
    },
    experiment::{Check, Counter, Moment, Target, yaml},
};

use crate::support::{LONG, LocalAgent, eventually, experiment, local, loss};

fn apply_args(directory: &Path, agent: &LocalAgent, text: &str) -> ApplyArgs {
    let file = directory.join("experiment.yaml");
    std::fs::write(&file, text).unwrap();
    ApplyArgs {
        replay: ReplayArgs::default(),
        file,
        node: String::new(),
        wait: true,
        json: false,
        connect: at(agent),
    }
}

fn at(agent: &LocalAgent) -> Connect {
    Connect {
        socket: format!("unix://{}", agent.socket.display()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_does_not_hold_is_a_failure() {
    let (directory, agent, _client) = local().await;
    let mut wanted = experiment("checked", Duration::from_millis(400));
    wanted.checks = vec![Check {
        id: "often".to_owned(),
        fault: "loss".to_owned(),
        field: Counter::Injected,
        pass: "> 1000000".parse().unwrap(),
        at: vec![Moment::After],
    }];
    let args = apply_args(directory.path(), &agent, &yaml::format(&wanted));
    let mut out = Vec::new();
    assert_eq!(apply(&args, &mut out).await.unwrap(), 1);
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("checked: failed\n"), "{out}");
    let said = "check 'often' failed: injected of fault 'loss' is ";
    assert!(out.contains(said), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_print_what_happens() {
    let (directory, agent, _client) = local().await;
    let text = yaml::format(&experiment("cli", Duration::from_millis(400)));
    let args = apply_args(directory.path(), &agent, &text);
    let mut out = Vec::new();
    assert_eq!(apply(&args, &mut out).await.unwrap(), 0);
    let out = String::from_utf8(out).unwrap();
    for expected in [
        "cli: armed\n",
        "mechanism  cgroup-skb",
        "not hit    loopback",
        "cli: passed\n",
    ] {
        assert!(out.contains(expected), "{expected:?} in {out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");

    let connect = at(&agent);
    let mut out = Vec::new();
    ls(
        &LsArgs {
            json: false,
            connect: connect.clone(),
        },
        &mut out,
    )
    .await
    .unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(
        out.starts_with("NAME") && out.contains("cli   passed"),
        "{out}"
    );

    let mut out = Vec::new();
    let args = ShowArgs {
        name: "cli".to_owned(),
        events: true,
        json: true,
        connect: connect.clone(),
    };
    show(&args, &mut out).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(json["outcome"], "passed");
    let fault = &json["nodes"][0]["faults"][0];
    assert_eq!(fault["mechanism"], "cgroup-skb");
    let trail = &fault["trail"];
    assert_eq!(trail["sampled"], fault["counters"]["injected"], "{fault}");
    assert_eq!(trail["ordinals"][0], 1);
    assert_eq!(trail["events"][0]["bytes"], 84);
    assert_eq!(trail["events"][0]["source"], "10.0.0.1:4000");
    assert_eq!(trail["events"][1]["comm"], "nginx");
    assert_eq!(trail["events"][1]["syscall"], 257);
    let mut out = Vec::new();
    let args = ShowArgs {
        events: false,
        ..args
    };
    show(&args, &mut out).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert!(json["nodes"][0]["faults"][0]["trail"].is_null(), "{json}");
    let mut out = Vec::new();
    let args = ShowArgs {
        events: true,
        json: false,
        ..args
    };
    show(&args, &mut out).await.unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(
        out.contains("event 1 hit: packet of 84 bytes, udp 10.0.0.1:4000 > 10.0.0.2:53, cgroup 7"),
        "{out}"
    );
    assert!(out.contains("pid 2 tid 3 (nginx) syscall 257"), "{out}");
    assert!(out.contains("1 lost"), "{out}");

    let mut out = Vec::new();
    let args = StopArgs {
        name: Some("cli".to_owned()),
        all: false,
        json: false,
        connect,
    };
    assert_eq!(stop(&args, &mut out).await.unwrap(), 0);
    assert!(String::from_utf8(out).unwrap().starts_with("cli: passed\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_shows_each_injection_once_and_ends_with_the_experiment() {
    let (directory, agent, _client) = local().await;
    let text = yaml::format(&experiment("seen", Duration::from_millis(2500)));
    let args = apply_args(directory.path(), &agent, &text);
    let applying = tokio::spawn(async move { apply(&args, &mut Vec::new()).await });
    eventually("armed", || !agent.node.live().is_empty()).await;
    let args = WatchArgs {
        name: "seen".to_owned(),
        no_events: false,
        json: false,
        connect: at(&agent),
    };
    let mut out = Vec::new();
    assert_eq!(watch(&args, &mut out).await.unwrap(), 0);
    assert_eq!(applying.await.unwrap().unwrap(), 0);
    let out = String::from_utf8(out).unwrap();
    let events: Vec<&str> = out
        .lines()
        .filter(|line| line.starts_with("seen loss: ") && line.contains(" hit: "))
        .collect();
    assert!(events.len() >= 2, "{out}");
    for ordinal in 1..=events.len() {
        let said = format!("  event {ordinal} hit: ");
        let times = events.iter().filter(|line| line.contains(&said)).count();
        assert_eq!(times, 1, "{said} in {out}");
    }
    assert!(out.contains("matching/s"), "{out}");
    assert!(out.ends_with("seen: passed\n"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_fail_with_the_right_status() {
    let (directory, agent, _client) = local().await;
    let mut out = Vec::new();
    let bad = apply(&apply_args(directory.path(), &agent, "spec: {}"), &mut out).await;
    assert_eq!(bad.unwrap_err().exit, 2);
    let mut missing = experiment("e", LONG);
    missing.target = Some(Target::Cgroup("/missing".to_owned()));
    let args = apply_args(directory.path(), &agent, &yaml::format(&missing));
    assert_eq!(apply(&args, &mut out).await.unwrap_err().exit, 3);
    let mut quiet = experiment("quiet", Duration::from_millis(100));
    quiet.faults = vec![loss("quiet")];
    let args = apply_args(directory.path(), &agent, &yaml::format(&quiet));
    assert_eq!(apply(&args, &mut out).await.unwrap(), 4);

    let mut nobody = args.clone();
    nobody.connect.socket = format!("unix://{}/nobody", directory.path().display());
    let error = apply(&nobody, &mut out).await.unwrap_err();
    assert_eq!(error.exit, 1);
    assert!(error.message.contains("start kchaos-agent"), "{error}");
    nobody.connect.socket = "127.0.0.1:1".to_owned();
    assert_eq!(apply(&nobody, &mut out).await.unwrap_err().exit, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_while_somebody_waits_tells_them() {
    let (directory, agent, mut client) = local().await;
    let args = apply_args(
        directory.path(),
        &agent,
        &yaml::format(&experiment("e", LONG)),
    );
    let waiting = tokio::spawn(async move { apply(&args, &mut Vec::new()).await });
    eventually("armed", || !agent.node.live().is_empty()).await;
    let name = "e".to_owned();
    client.stop(proto::StopRequest { name }).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 4);
}
