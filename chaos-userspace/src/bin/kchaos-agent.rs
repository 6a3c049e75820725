//! The agent: holds this node's faults, for its own socket and for the scheduler that it dials.

use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use chaos_common::limits::{RULES, RULES_MAX};
use chaos_userspace::{
    agent::{self, Contact, SharedNode},
    api::{Experiments, listen},
    experiment::{format_duration, parse_duration},
    guard, heal,
    node::{MIN_LEASE, Node, Settings},
    pause,
    scheduler::{Config, Scheduler, SystemClock},
    state::{Role, StateDir},
    target::CgroupTree,
    vdso,
};
use clap::Parser;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::timeout,
};
use tonic::service::Routes;
use tracing_subscriber::EnvFilter;

/// How long faults may take to end, and calls to be answered, when the agent stops
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries out experiments on this machine
///
/// Takes them from `kchaos apply` on its socket, and from a scheduler when one is named. Every fault
/// ends with the agent, however that ends. `RUST_LOG=debug` says more.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 80)]
struct Args {
    /// Listen on this unix socket, which only its owner can use
    #[arg(long, value_name = "PATH", default_value_os_t = StateDir::default().socket())]
    socket: PathBuf,
    /// Dial this scheduler, and dial it again when it is lost
    #[arg(
        long,
        value_name = "URL",
        value_parser = agent::dial,
        help = "Dial this scheduler, and dial it again when it is lost: http://127.0.0.1:7410 \
                or unix:///PATH"
    )]
    scheduler: Option<Contact>,
    /// End what the kernel does not end by itself when the agent hangs for so long; at least 1s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = lease)]
    lease: Duration,
    /// Refuse what needs more rules at a time, one for each fault of each plan; at most 100000
    #[arg(long, value_name = "N", default_value_t = RULES,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(RULES_MAX)))]
    max_rules: u32,
    /// This node's name [default: the hostname]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

fn main() -> ExitCode {
    if let Some(helped) = guard::main_if_asked()
        .or_else(pause::main_if_asked)
        .or_else(vdso::main_if_asked)
    {
        return helped;
    }
    match agent() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere to complain to when this fails.
            drop(writeln!(io::stderr(), "kchaos-agent: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn agent() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let name = match &args.node {
        Some(name) => name.clone(),
        None => hostname()?,
    };
    let settings = Settings {
        lease: args.lease,
        max_rules: args.max_rules,
        ..Settings::default()
    };
    let _registered = settings.state.register(Role::Agent)?;
    heal::sweep(&CgroupTree::find()?, &settings.state);
    let mut node = Node::new(settings)?;
    node.stay_guarded();
    let node = SharedNode::new(node);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(run(args, agent::Config::new(name), node))
}

fn lease(text: &str) -> anyhow::Result<Duration> {
    let lease = parse_duration(text)?;
    ensure!(
        lease >= MIN_LEASE,
        "say at least {}: a busy machine may keep the agent waiting that long",
        format_duration(MIN_LEASE)
    );
    Ok(lease)
}

fn hostname() -> anyhow::Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").context("say --node")?;
    Ok(name.trim().to_owned())
}

async fn run(args: Args, config: agent::Config, node: SharedNode) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let socket = listen::unix(&args.socket)?;
    let scheduler = Scheduler::new(Config::default(), SystemClock);
    let deadlines = {
        let scheduler = scheduler.clone();
        tokio::spawn(async move { scheduler.watch_deadlines().await })
    };
    let mut local = tokio::spawn(agent::serve_local(&scheduler, node.clone(), &config)?);
    let stopping = watch::Sender::new(false);
    let contact = args
        .scheduler
        .map(|contact| tokio::spawn(contact.hold(node, config.clone(), stopping.subscribe())));
    let mut server = {
        let until = scheduler.clone();
        let routes = Routes::new(Experiments::service(scheduler.clone()));
        tokio::spawn(async move {
            listen::serve_unix(socket, routes, async move { until.closed().await }).await
        })
    };
    tracing::info!(node = config.node, socket = %args.socket.display(), "ready");

    let failure = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        failed = &mut server => Some(failed.map(|result| result.map_err(anyhow::Error::from))),
        ended = &mut local => Some(ended.map(|()| Err(anyhow::anyhow!("the node is gone")))),
    };
    tracing::info!("stopping");
    stopping.send_replace(true);
    scheduler.close("its agent is stopping", PATIENCE).await;
    deadlines.abort();
    let rest = async {
        if let Some(contact) = contact
            && let Err(error) = contact.await
        {
            tracing::error!(%error, "the session failed");
        }
        if failure.is_none() {
            drop(tokio::join!(local, server));
        }
    };
    if timeout(PATIENCE, rest).await.is_err() {
        tracing::warn!("calls are still open");
    }
    match failure {
        Some(failure) => failure?.context("the agent can't go on"),
        None => Ok(()),
    }
}
