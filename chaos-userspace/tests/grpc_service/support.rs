//! A node without a kernel, and an agent and a scheduler on it in this process.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use chaos_userspace::{
    agent::{self, SharedNode},
    api::{Agents, Experiments, listen, proto::scheduler_service_client::SchedulerServiceClient},
    engine::Lateness,
    experiment::{
        Common, Errno, Experiment, Fault, FaultKind, FileError, FileOp, Mechanism, NetLoss, Share,
        Target, Traffic,
    },
    node::{
        Counters, FaultStatus, Flow, Frame, NodeControl, NodeError, Place, Plan, PlanStatus,
        Sample, Subject, Trail,
    },
    scheduler::{Config, ExperimentStatus, Scheduler, SystemClock},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tonic::{
    service::Routes,
    transport::{Channel, Endpoint},
};

pub(crate) type Client = SchedulerServiceClient<Channel>;

/// Counts an injection for each question, in every fault whose id is not `quiet`.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeNode(Arc<Mutex<BTreeMap<String, Live>>>);

#[derive(Debug)]
struct Live {
    plan: Plan,
    since: Instant,
    asked: u64,
}

impl FakeNode {
    pub(crate) fn live(&self) -> Vec<Plan> {
        self.0
            .lock()
            .unwrap()
            .values()
            .map(|live| live.plan.clone())
            .collect()
    }
}

/// One of each kind of injection, then as many as were counted.
fn trail(hits: u64) -> Trail {
    let sample = |ordinal| Sample {
        ordinal,
        at: SystemTime::UNIX_EPOCH + Duration::from_micros(ordinal),
        since_boot: Duration::from_micros(ordinal),
        cgroup: 7,
        subject: if ordinal == 1 {
            Subject::Packet {
                bytes: 84,
                flow: Some(Flow {
                    protocol: 17,
                    source: [10, 0, 0, 1].into(),
                    destination: [10, 0, 0, 2].into(),
                    ports: Some((4000, 53)),
                }),
            }
        } else {
            Subject::Task {
                pid: 2,
                tid: 3,
                comm: "nginx".to_owned(),
                call: Some(257),
            }
        },
        stack: match ordinal {
            1 => Vec::new(),
            _ => vec![
                Frame {
                    address: 0x7f00_0000_1234,
                    place: Some(Place {
                        file: "/usr/sbin/nginx".to_owned(),
                        offset: 0x234,
                    }),
                },
                Frame {
                    address: 9,
                    place: None,
                },
            ],
        },
    };
    Trail {
        events: (1..=hits).map(sample).collect(),
        sampled: hits,
        lost: 1,
        ordinals: (1..=hits).collect(),
        truncated: false,
    }
}

impl Live {
    fn status(&mut self) -> PlanStatus {
        self.asked += 1;
        let faults = self.plan.experiment.faults.iter().map(|fault| {
            let hits = if fault.id == "quiet" { 0 } else { self.asked };
            FaultStatus {
                fault: fault.id.clone(),
                word: fault.kind.name().to_owned(),
                target: format!("{:?}", fault.target.as_ref().unwrap()),
                mechanism: Mechanism::CgroupSkb,
                not_covered: vec!["loopback".to_owned()],
                remaining: fault
                    .common
                    .duration
                    .unwrap()
                    .saturating_sub(self.since.elapsed()),
                ended: None,
                counters: Counters {
                    considered: 2 * self.asked,
                    matched: hits,
                    injected: hits,
                    ..Counters::default()
                },
                late: Some(Lateness {
                    packets: 9,
                    median: Duration::from_micros(64),
                    p99: Duration::from_millis(1),
                }),
                uncounted: 5,
                trail: trail(hits),
            }
        });
        PlanStatus {
            id: self.plan.id.clone(),
            faults: faults.collect(),
        }
    }
}

impl NodeControl for FakeNode {
    fn apply(&mut self, plan: &Plan) -> Result<PlanStatus, NodeError> {
        match plan.experiment.faults[0].target.as_ref().unwrap() {
            Target::Cgroup(path) if path == "/missing" => {
                return Err(NodeError::Unsupported("no cgroup /missing".to_owned()));
            }
            Target::Cgroup(path) if path == "/own" => {
                return Err(NodeError::BadPlan {
                    field: "spec.target.cgroup".to_owned(),
                    problem: "is the agent's own".to_owned(),
                });
            }
            _ => {}
        }
        let mut live = Live {
            plan: plan.clone(),
            since: Instant::now(),
            asked: 0,
        };
        let status = live.status();
        self.0.lock().unwrap().insert(plan.id.clone(), live);
        Ok(status)
    }

    fn status(&mut self, id: &str) -> Result<PlanStatus, NodeError> {
        let mut plans = self.0.lock().unwrap();
        let live = plans
            .get_mut(id)
            .ok_or_else(|| NodeError::UnknownPlan(id.to_owned()))?;
        Ok(live.status())
    }

    fn stop(&mut self, id: &str) -> Result<PlanStatus, NodeError> {
        let mut plans = self.0.lock().unwrap();
        let mut live = plans
            .remove(id)
            .ok_or_else(|| NodeError::UnknownPlan(id.to_owned()))?;
        Ok(live.status())
    }
}

pub(crate) fn loss(id: &str) -> Fault {
    Fault {
        id: id.to_owned(),
        target: None,
        kind: FaultKind::NetLoss(NetLoss {
            share: Share::from_billionths(100_000_000).unwrap(),
            traffic: Traffic::default(),
        }),
        common: Common::default(),
    }
}

fn file_error(id: &str) -> Fault {
    Fault {
        kind: FaultKind::FileError(FileError {
            ops: vec![FileOp::Open],
            errno: Errno::EIO,
            path: None,
            include_exec: false,
        }),
        ..loss(id)
    }
}

pub(crate) fn experiment(name: &str, duration: Duration) -> Experiment {
    Experiment {
        name: name.to_owned(),
        target: Some(Target::Cgroup("/web".to_owned())),
        duration: Some(duration),
        seed: None,
        faults: vec![loss("loss"), file_error("open")],
        checks: Vec::new(),
    }
}

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// All waits, shortened.
pub(crate) fn quick() -> Config {
    Config {
        contact_timeout: Duration::from_millis(900),
        arm_timeout: Duration::from_secs(5),
        stop_timeout: Duration::from_secs(3),
        heartbeat: Duration::from_millis(100),
        tick: Duration::from_millis(20),
        max_live: 4,
        max_ended: 3,
    }
}

/// An agent with its own scheduler on a unix socket.
#[derive(Debug)]
pub(crate) struct LocalAgent {
    pub(crate) node: FakeNode,
    pub(crate) socket: PathBuf,
    pub(crate) scheduler: Scheduler,
    pub(crate) tasks: Vec<JoinHandle<()>>,
}

fn local_agent(directory: &Path) -> LocalAgent {
    let socket = directory.join("kchaos/kchaos.sock");
    let node = FakeNode::default();
    let scheduler = Scheduler::new(quick(), SystemClock);
    let shared = SharedNode::new(node.clone());
    let config = quick_agent("here");
    let listener = listen::unix(&socket).unwrap();
    let routes = Routes::new(Experiments::service(scheduler.clone()));
    let tasks = vec![
        tokio::spawn(agent::serve_local(&scheduler, shared, &config).unwrap()),
        tokio::spawn({
            let until = scheduler.clone();
            async move {
                let until = async move { until.closed().await };
                listen::serve_unix(listener, routes, until).await.unwrap();
            }
        }),
    ];
    keep_time(&scheduler);
    LocalAgent {
        node,
        socket,
        scheduler,
        tasks,
    }
}

/// An agent of its own, with a client of it.
pub(crate) async fn local() -> (tempfile::TempDir, LocalAgent, Client) {
    let directory = tempfile::tempdir().unwrap();
    let agent = local_agent(directory.path());
    let client = connect(&format!("unix://{}", agent.socket.display())).await;
    (directory, agent, client)
}

fn keep_time(scheduler: &Scheduler) {
    let scheduler = scheduler.clone();
    tokio::spawn(async move { scheduler.watch_deadlines().await });
}

pub(crate) fn quick_agent(node: &str) -> agent::Config {
    agent::Config {
        contact_timeout: Duration::from_millis(900),
        report_every: Duration::from_millis(50),
        heartbeat: Duration::from_millis(100),
        min_backoff: Duration::from_millis(20),
        max_backoff: Duration::from_millis(50),
        stop_timeout: Duration::from_secs(2),
        ..agent::Config::new(node)
    }
}

async fn connect(url: &str) -> Client {
    let channel = Endpoint::from_shared(url.to_owned())
        .unwrap()
        .connect()
        .await
        .unwrap();
    SchedulerServiceClient::new(channel)
}

/// A scheduler on a runtime of its own, so that it can be killed with everything that it holds.
#[derive(Debug)]
pub(crate) struct RemoteScheduler {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    pub(crate) scheduler: Scheduler,
    runtime: Option<tokio::runtime::Runtime>,
}

impl RemoteScheduler {
    /// On a loopback address, and on a unix socket when one is named.
    pub(crate) fn start(address: SocketAddr, socket: Option<&Path>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let scheduler = Scheduler::new(quick(), SystemClock);
        let routes = Routes::new(Experiments::service(scheduler.clone()))
            .add_service(Agents::service(scheduler.clone()));
        let guard = runtime.enter();
        keep_time(&scheduler);
        if let Some(socket) = socket {
            let socket = listen::unix(socket).unwrap();
            let until = scheduler.clone();
            let until = async move { until.closed().await };
            drop(runtime.spawn(listen::serve_unix(socket, routes.clone(), until)));
        }
        // Bound by the standard library, because the caller may be in a runtime already.
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let until = scheduler.clone();
        let until = async move { until.closed().await };
        drop(runtime.spawn(listen::serve_tcp(listener, routes, until)));
        drop(guard);
        Self {
            url: format!("http://{address}"),
            address,
            scheduler,
            runtime: Some(runtime),
        }
    }

    /// As `kill -9` does it.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for RemoteScheduler {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An agent that dials, on a runtime of its own for the same reason.
#[derive(Debug)]
pub(crate) struct RemoteAgent {
    pub(crate) node: FakeNode,
    stopping: watch::Sender<bool>,
    session: JoinHandle<()>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl RemoteAgent {
    pub(crate) fn start(name: &str, url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let node = FakeNode::default();
        let stopping = watch::Sender::new(false);
        let contact = agent::dial(url).unwrap();
        let shared = SharedNode::new(node.clone());
        // Else the end of the sender would be a polite stop, just before a kill.
        let sender = stopping.clone();
        drop(runtime.spawn(async move {
            std::future::pending::<()>().await;
            drop(sender);
        }));
        let session = runtime.spawn(contact.hold(shared, quick_agent(name), stopping.subscribe()));
        Self {
            node,
            stopping,
            session,
            runtime: Some(runtime),
        }
    }

    /// As SIGTERM does it.
    pub(crate) async fn stop(mut self) {
        self.stopping.send_replace(true);
        timeout(Duration::from_secs(5), &mut self.session)
            .await
            .unwrap()
            .unwrap();
    }

    /// As `kill -9` does it.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for RemoteAgent {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits until something holds, for at most five seconds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within 5 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until an experiment has ended.
pub(crate) async fn end_of(scheduler: &Scheduler, name: &str) -> ExperimentStatus {
    eventually(&format!("the end of {name}"), || {
        scheduler.find(name).unwrap().outcome.is_some()
    })
    .await;
    scheduler.find(name).unwrap()
}
