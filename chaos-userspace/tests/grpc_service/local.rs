//! `SchedulerService` on an agent's own unix socket.

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use chaos_userspace::{
    api::{MAX_REQUEST, RemoteError, listen, proto},
    experiment::Target,
    scheduler::{Error, ExitClass, ExperimentStatus, Outcome, Phase},
};
use tokio_stream::StreamExt as _;

use crate::support::{LONG, end_of, experiment, local, loss};

fn request(experiment: &chaos_userspace::experiment::Experiment) -> proto::ApplyRequest {
    proto::ApplyRequest {
        experiment: Some(experiment.into()),
        node: String::new(),
    }
}

fn typed(status: Option<proto::ExperimentStatus>) -> ExperimentStatus {
    status.unwrap().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_list_watch_stop() {
    let (_directory, agent, mut client) = local().await;
    let answer = client
        .apply(request(&experiment("e", LONG)))
        .await
        .unwrap()
        .into_inner();
    let armed = typed(answer.status);
    assert_eq!((armed.phase, armed.outcome), (Phase::Armed, None));
    assert_eq!(armed.nodes[0].node, "here");
    let faults = &armed.nodes[0].plan.as_ref().unwrap().faults;
    assert_eq!(faults[0].not_covered, ["loopback"]);
    assert_eq!(faults.len(), 2);

    // The plan says everything by itself.
    let plan = agent.node.live().remove(0);
    assert_eq!(plan.id, armed.id);
    assert_eq!(plan.experiment.seed, Some(armed.seed));
    for fault in &plan.experiment.faults {
        assert_eq!(fault.target, Some(Target::Cgroup("/web".into())));
        assert_eq!(fault.common.duration, Some(LONG));
    }

    let listed = client
        .list(proto::ListRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.experiments.len(), 1);

    let watched = proto::WatchRequest { name: "e".into() };
    let mut changes = client.watch(watched).await.unwrap().into_inner();
    let mut last = 0;
    for _ in 0..3 {
        let status = typed(changes.next().await.unwrap().unwrap().status);
        let counters = status.nodes[0].plan.as_ref().unwrap().faults[0].counters;
        assert!(counters.injected > last, "counters grow");
        last = counters.injected;
    }

    let name = "e".to_owned();
    let answer = client
        .stop(proto::StopRequest { name })
        .await
        .unwrap()
        .into_inner();
    let ended = typed(answer.status);
    assert_eq!(
        (ended.phase, ended.outcome),
        (Phase::Ended, Some(Outcome::Inconclusive))
    );
    assert_eq!(ended.reason.as_deref(), Some("stopped early"));
    assert!(
        ended.nodes[0].plan.as_ref().unwrap().faults[0]
            .counters
            .injected
            > last
    );
    assert!(agent.node.live().is_empty());
    let mut phase = None;
    while let Some(change) = changes.next().await {
        phase = Some(typed(change.unwrap().status).phase);
    }
    assert_eq!(
        phase,
        Some(Phase::Ended),
        "the stream ends with the experiment"
    );

    // Once more is no error, and changes nothing.
    let name = "e".to_owned();
    let again = client
        .stop(proto::StopRequest { name })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(typed(again.status), ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_by_itself_and_only_hits_pass() {
    let (_directory, agent, mut client) = local().await;
    let short = Duration::from_millis(200);
    client
        .apply(request(&experiment("hit", short)))
        .await
        .unwrap();
    let mut quiet = experiment("quiet", short);
    quiet.faults.push(loss("quiet"));
    client.apply(request(&quiet)).await.unwrap();

    let hit = end_of(&agent.scheduler, "hit").await;
    assert_eq!((hit.outcome, hit.reason), (Some(Outcome::Passed), None));
    let quiet = end_of(&agent.scheduler, "quiet").await;
    assert_eq!(quiet.outcome, Some(Outcome::Inconclusive));
    assert!(
        quiet
            .reason
            .unwrap()
            .starts_with("fault 'quiet' hit nothing")
    );
    assert!(agent.node.live().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_violation_is_reported_by_field() {
    let (_directory, agent, mut client) = local().await;
    let mut wire = proto::Experiment::from(&experiment("No Name", LONG));
    let Some(proto::fault::Kind::FileError(file_error)) = &mut wire.faults[1].kind else {
        panic!("the second fault is file_error")
    };
    file_error.errno = "EFOO".to_owned();
    wire.faults[0].kind = None;
    wire.faults[1].common.get_or_insert_default().mechanism = 99;
    wire.duration = Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    });
    let request = proto::ApplyRequest {
        experiment: Some(wire),
        node: String::new(),
    };
    let refusal = RemoteError::from(&client.apply(request).await.unwrap_err());
    assert_eq!(refusal.class, ExitClass::BadInput);
    let mut fields: Vec<&str> = refusal
        .violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "metadata.name",
            "spec.duration",
            "spec.faults[0]",
            "spec.faults[1].fileError.errno",
            "spec.faults[1].fileError.mechanism",
        ]
    );
    assert!(agent.node.live().is_empty());
    assert!(agent.scheduler.list().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_violations_fit_into_one_answer() {
    let (_directory, _agent, mut client) = local().await;
    let mut bad = experiment("e", LONG);
    bad.faults = (0..60).map(|_| loss(&"ä ".repeat(2000))).collect();
    let status = client.apply(request(&bad)).await.unwrap_err();
    let refusal = RemoteError::from(&status);
    assert_eq!(refusal.class, ExitClass::BadInput);
    assert!(refusal.violations.len() > 5, "{status:?}");
    assert!(refusal.violations.last().unwrap().problem.contains("more"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_their_exit_status() {
    let (_directory, agent, mut client) = local().await;
    let mut at = async |path: &str, node: &str| {
        let mut experiment = experiment("e", LONG);
        experiment.target = Some(Target::Cgroup(path.to_owned()));
        let mut request = request(&experiment);
        request.node = node.to_owned();
        RemoteError::from(&client.apply(request).await.unwrap_err())
    };
    let missing = at("/missing", "").await;
    assert_eq!(missing.class, ExitClass::Unsupported);
    assert_eq!(missing.message, "node 'here': no cgroup /missing");
    let own = at("/own", "here").await;
    assert_eq!(own.class, ExitClass::BadInput);
    assert_eq!(own.violations[0].field, "spec.target.cgroup");
    let elsewhere = at("/web", "there").await;
    assert_eq!(elsewhere.class, ExitClass::BadInput);
    assert_eq!(
        elsewhere.message,
        "node 'there' is not connected; connected: here"
    );
    // What was refused is not kept, so that its name is free.
    assert!(agent.scheduler.list().is_empty());

    let mut command = experiment("e", LONG);
    command.target = Some(Target::Command(vec!["true".to_owned()]));
    let refusal = RemoteError::from(&client.apply(request(&command)).await.unwrap_err());
    assert_eq!(refusal.class, ExitClass::BadInput);
    assert!(
        refusal.violations[0].problem.contains("kchaos run"),
        "{refusal}"
    );

    let name = "nosuch".to_owned();
    let refusal = client.stop(proto::StopRequest { name }).await.unwrap_err();
    assert_eq!(RemoteError::from(&refusal).class, ExitClass::BadInput);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_numbers_are_limited() {
    let (_directory, agent, mut client) = local().await;
    for i in 0..4 {
        client
            .apply(request(&experiment(&format!("e{i}"), LONG)))
            .await
            .unwrap();
    }
    let taken = client
        .apply(request(&experiment("e1", LONG)))
        .await
        .unwrap_err();
    assert_eq!(taken.code(), tonic::Code::AlreadyExists);
    let full = client
        .apply(request(&experiment("e4", LONG)))
        .await
        .unwrap_err();
    assert_eq!(full.code(), tonic::Code::ResourceExhausted);
    assert_eq!(
        full.message(),
        "4 experiments live already, which is the limit; stop one first"
    );
    for _ in 0..2 {
        for i in 0..4 {
            let name = format!("e{i}");
            client
                .stop(proto::StopRequest { name: name.clone() })
                .await
                .unwrap();
            client
                .apply(request(&experiment(&name, LONG)))
                .await
                .unwrap();
        }
    }
    assert_eq!(
        agent.scheduler.list().len(),
        4 + 3,
        "the oldest that ended are forgotten"
    );

    let mut huge = experiment("huge", LONG);
    huge.target = Some(Target::Command(vec!["x".repeat(MAX_REQUEST)]));
    let refusal = client.apply(request(&huge)).await.unwrap_err();
    assert_eq!(
        RemoteError::from(&refusal).class,
        ExitClass::BadInput,
        "{refusal:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_stops_ends_everything_and_says_so() {
    let (_directory, agent, mut client) = local().await;
    client.apply(request(&experiment("e", LONG))).await.unwrap();
    let watched = proto::WatchRequest { name: "e".into() };
    let mut changes = client.watch(watched).await.unwrap().into_inner();
    agent
        .scheduler
        .close("its agent is stopping", Duration::from_secs(5))
        .await;
    assert!(agent.node.live().is_empty());
    let mut last = None;
    while let Some(Ok(change)) = changes.next().await {
        last = Some(typed(change.status));
    }
    let last = last.unwrap();
    assert_eq!(last.outcome, Some(Outcome::Inconclusive));
    assert_eq!(last.reason.as_deref(), Some("its agent is stopping"));
    let refused = agent.scheduler.apply(experiment("f", LONG), "").await;
    assert!(matches!(refused, Err(Error::Closing)), "{refused:?}");
    drop((client, changes));
    for task in agent.tasks {
        tokio::time::timeout(Duration::from_secs(5), task)
            .await
            .unwrap()
            .unwrap();
    }
    assert!(!agent.socket.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_is_private_and_replaced_only_when_stale() {
    let (directory, agent, client) = local().await;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&agent.socket), 0o600);
    assert_eq!(mode(agent.socket.parent().unwrap()), 0o755);
    let refused = listen::unix(&agent.socket).unwrap_err();
    assert!(
        matches!(refused, listen::ListenError::InUse(_)),
        "{refused}"
    );
    drop(client);

    let stale = directory.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let socket = listen::unix(&stale).unwrap();
    assert_eq!(mode(&stale), 0o600);
    drop(socket);
    assert!(!stale.exists());

    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = listen::unix(&file).unwrap_err();
    assert!(
        matches!(refused, listen::ListenError::NotASocket(_)),
        "{refused}"
    );
    let mut left: Vec<_> = directory
        .path()
        .read_dir()
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["file", "kchaos"]);
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    for refused in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let refused = listen::tcp(refused.parse().unwrap()).await.unwrap_err();
        assert!(
            matches!(refused, listen::ListenError::NotLoopback(_)),
            "{refused}"
        );
    }
    listen::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
}
