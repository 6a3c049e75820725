//! The scheduler: takes experiments, and hands them to the agents that dial it.

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use chaos_userspace::{
    api::{Agents, Experiments, listen},
    scheduler::{Config, Scheduler, SystemClock},
};
use clap::Parser;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::timeout,
};
use tonic::service::Routes;
use tracing_subscriber::EnvFilter;

/// How long experiments may take to end, and calls to be answered, when the scheduler stops
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes experiments and hands them to the agents that dial it
///
/// State is kept in memory. When the scheduler stops, its experiments end; when it is killed, agents
/// end them 60 s later. `RUST_LOG=debug` says more.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 80)]
struct Args {
    /// Listen on this loopback address [default: 127.0.0.1:7410, unless --socket is given]
    ///
    /// Every user of this machine can connect to it: connections are neither encrypted nor
    /// authenticated in this version. --socket is for its owner alone.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    listen: Option<SocketAddr>,
    /// Listen on this unix socket, which only its owner can use
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

fn loopback(text: &str) -> anyhow::Result<SocketAddr> {
    let address = text
        .parse()
        .context("say an address and a port, such as 127.0.0.1:7410")?;
    listen::check_loopback(address)?;
    Ok(address)
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let scheduler = Scheduler::new(Config::default(), SystemClock);
    let routes = Routes::new(Experiments::service(scheduler.clone()))
        .add_service(Agents::service(scheduler.clone()));

    let default = args
        .socket
        .is_none()
        .then_some(SocketAddr::from(([127, 0, 0, 1], 7410)));
    let mut servers = JoinSet::new();
    if let Some(path) = args.socket {
        let socket = listen::unix(&path)?;
        let until = scheduler.clone();
        let routes = routes.clone();
        servers.spawn(async move {
            listen::serve_unix(socket, routes, async move { until.closed().await }).await
        });
        tracing::info!(socket = %path.display(), "listening");
    }
    if let Some(address) = args.listen.or(default) {
        let listener = listen::tcp(address).await?;
        let address = listener.local_addr()?;
        let until = scheduler.clone();
        servers.spawn(async move {
            listen::serve_tcp(listener, routes, async move { until.closed().await }).await
        });
        tracing::info!(%address, "listening, for every user of this machine");
    }
    let deadlines = scheduler.clone();
    let deadlines = tokio::spawn(async move { deadlines.watch_deadlines().await });
    tracing::info!("ready");

    let early = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        server = servers.join_next() => server,
    };
    tracing::info!("stopping");
    scheduler.close("the scheduler is stopping", PATIENCE).await;
    deadlines.abort();
    if timeout(PATIENCE, async {
        while servers.join_next().await.is_some() {}
    })
    .await
    .is_err()
    {
        tracing::warn!("calls are still open");
    }
    early
        .transpose()?
        .transpose()
        .context("a listener failed")?;
    Ok(())
}
