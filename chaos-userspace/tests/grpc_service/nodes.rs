//! Agents that dial a scheduler: two at once, each side dying, and coming back.

use std::time::{Duration, Instant};

use chaos_userspace::scheduler::{Error, Outcome, Phase};

use crate::support::{LONG, RemoteAgent, RemoteScheduler, end_of, eventually, experiment, quick};

fn scheduler() -> RemoteScheduler {
    RemoteScheduler::start("127.0.0.1:0".parse().unwrap(), None)
}

/// Waits until a node is there, by asking for it with something that is refused.
async fn connected(scheduler: &RemoteScheduler, node: &str) {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let mut probe = experiment("probe", LONG);
        let missing = "/missing".to_owned();
        probe.target = Some(chaos_userspace::experiment::Target::Cgroup(missing));
        match scheduler.scheduler.apply(probe, node).await {
            Err(Error::Node { .. }) => return,
            other => assert!(Instant::now() < until, "{node} is not connected: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_over_tcp_and_unix() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("scheduler.sock");
    let scheduler = RemoteScheduler::start("127.0.0.1:0".parse().unwrap(), Some(&socket));
    let none = scheduler
        .scheduler
        .apply(experiment("e", LONG), "")
        .await
        .unwrap_err();
    assert!(matches!(none, Error::NoNode), "{none}");
    let a = RemoteAgent::start("a", &scheduler.url);
    let b = RemoteAgent::start("b", &format!("unix://{}", socket.display()));
    connected(&scheduler, "a").await;
    connected(&scheduler, "b").await;

    let which = scheduler
        .scheduler
        .apply(experiment("e", LONG), "")
        .await
        .unwrap_err();
    assert_eq!(which.to_string(), "say which node; connected: a, b");
    scheduler
        .scheduler
        .apply(experiment("on-a", LONG), "a")
        .await
        .unwrap();
    let armed = scheduler
        .scheduler
        .apply(experiment("on-b", LONG), "b")
        .await
        .unwrap();
    assert_eq!((a.node.live().len(), b.node.live().len()), (1, 1));
    assert_eq!(armed.nodes[0].node, "b");
    let one = a.node.live()[0].experiment.clone();
    assert_eq!(one.name, "on-a");

    // One that stops politely reports its last counters; the other is not touched.
    let short = Duration::from_millis(200);
    scheduler
        .scheduler
        .apply(experiment("short", short), "b")
        .await
        .unwrap();
    a.stop().await;
    let ended = end_of(&scheduler.scheduler, "on-a").await;
    assert_eq!(ended.outcome, Some(Outcome::Inconclusive));
    assert_eq!(ended.reason.as_deref(), Some("its agent has stopped"));
    assert!(
        ended.nodes[0].plan.as_ref().unwrap().faults[0]
            .counters
            .injected
            > 0
    );
    let short = end_of(&scheduler.scheduler, "short").await;
    assert_eq!(short.outcome, Some(Outcome::Passed));
    assert_eq!(
        scheduler.scheduler.find("on-b").unwrap().phase,
        Phase::Armed
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_one_agents() {
    let scheduler = scheduler();
    let first = RemoteAgent::start("n", &scheduler.url);
    connected(&scheduler, "n").await;
    let second = RemoteAgent::start("n", &scheduler.url);
    scheduler
        .scheduler
        .apply(experiment("e", LONG), "n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((first.node.live().len(), second.node.live().len()), (1, 0));
    // The other takes over once the name is free.
    first.stop().await;
    end_of(&scheduler.scheduler, "e").await;
    connected(&scheduler, "n").await;
    scheduler
        .scheduler
        .apply(experiment("f", LONG), "n")
        .await
        .unwrap();
    assert_eq!(second.node.live().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_dies_makes_its_experiments_inconclusive() {
    let scheduler = scheduler();
    let agent = RemoteAgent::start("n", &scheduler.url);
    connected(&scheduler, "n").await;
    scheduler
        .scheduler
        .apply(experiment("e", LONG), "")
        .await
        .unwrap();
    let killed = Instant::now();
    agent.kill();
    eventually("a lost node", || {
        !scheduler.scheduler.find("e").unwrap().nodes[0].connected
    })
    .await;
    let ended = end_of(&scheduler.scheduler, "e").await;
    let took = killed.elapsed();
    assert!(took > quick().contact_timeout / 2, "{took:?}: {ended:?}");
    assert_eq!(ended.outcome, Some(Outcome::Inconclusive));
    let reason = ended.reason.unwrap();
    assert_eq!(reason, "node 'n' is lost: nothing heard from it for 900ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_came_back_without_its_plan_says_so() {
    let scheduler = scheduler();
    let agent = RemoteAgent::start("n", &scheduler.url);
    connected(&scheduler, "n").await;
    scheduler
        .scheduler
        .apply(experiment("e", LONG), "")
        .await
        .unwrap();
    agent.kill();
    let _again = RemoteAgent::start("n", &scheduler.url);
    let ended = end_of(&scheduler.scheduler, "e").await;
    assert_eq!(ended.outcome, Some(Outcome::Inconclusive));
    assert_eq!(
        ended.reason.as_deref(),
        Some("node 'n' came back without it")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_dies_ends_the_plans_after_the_contact_timeout() {
    let scheduler = scheduler();
    let agent = RemoteAgent::start("n", &scheduler.url);
    connected(&scheduler, "n").await;
    scheduler
        .scheduler
        .apply(experiment("e", LONG), "")
        .await
        .unwrap();
    let killed = Instant::now();
    scheduler.kill();
    eventually("the end of the plan", || agent.node.live().is_empty()).await;
    let took = killed.elapsed();
    let limit = quick().contact_timeout;
    assert!(took + Duration::from_millis(150) > limit, "{took:?}");
    assert!(took < limit + Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_scheduler_ends_the_plans_of_the_old_one() {
    let old = scheduler();
    let address = old.address;
    let agent = RemoteAgent::start("n", &old.url);
    connected(&old, "n").await;
    old.scheduler
        .apply(experiment("e", LONG), "")
        .await
        .unwrap();
    old.kill();
    let killed = Instant::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let new = RemoteScheduler::start(address, None);
    eventually("the end of the plan", || agent.node.live().is_empty()).await;
    assert!(
        killed.elapsed() < quick().contact_timeout,
        "before contact was lost"
    );
    connected(&new, "n").await;
    new.scheduler
        .apply(experiment("e", LONG), "")
        .await
        .unwrap();
    assert_eq!(agent.node.live().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_closes_ends_everything() {
    let scheduler = scheduler();
    let agent = RemoteAgent::start("n", &scheduler.url);
    connected(&scheduler, "n").await;
    scheduler
        .scheduler
        .apply(experiment("e", LONG), "")
        .await
        .unwrap();
    scheduler
        .scheduler
        .close("the scheduler is stopping", LONG)
        .await;
    assert!(agent.node.live().is_empty());
    let ended = scheduler.scheduler.find("e").unwrap();
    assert_eq!(ended.outcome, Some(Outcome::Inconclusive));
    assert!(ended.nodes[0].plan.is_some());
}
