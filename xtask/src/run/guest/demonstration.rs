//! What happens in the guest, from the first process to the last look around.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    apply::Applied,
    cgroup::Cgroup,
    daemon::Daemon,
    datagrams::Sender,
    http, note,
    residue::Census,
    workload::{Ports, Workload},
};
use crate::run::{
    account::{Account, Experiment, Phase, Things},
    target::Cgroups,
};

/// On the overlay, as a container's files are. Both servers have the same ones, so that nothing but
/// the cgroup tells them apart.
const FOLDER: &str = "/srv/kchaos-demo";
const SCHEDULER: &str = "127.0.0.1:7410";

const WARMUP: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(4);
/// The word that it is live took a while to arrive, and its end is that much nearer.
const MARGIN: Duration = Duration::from_millis(500);

const TARGET: Ports = Ports {
    http: 8081,
    datagrams: 9081,
};
const NEIGHBOUR: Ports = Ports {
    http: 8082,
    datagrams: 9082,
};

/// The two workloads, and who sends them datagrams.
struct Scene {
    target: Workload,
    neighbour: Workload,
    sender: Sender,
}

/// Carries everything out.
pub(super) fn run(text: &str, wrong_target: bool) -> Result<Account> {
    let cgroups = Cgroups::of(text)?;
    let folder = Path::new(FOLDER);
    let experiment = folder.join("experiment.yaml");
    fs::create_dir_all(folder)?;
    if wrong_target {
        fs::write(&experiment, cgroups.swapped(text))?;
    } else {
        fs::write(&experiment, text)?;
    }
    let census = Census::take()?;

    let url = format!("http://{SCHEDULER}");
    let scheduler = Daemon::start(
        "kchaos-scheduler",
        &["--listen", SCHEDULER],
        folder,
        "ready",
    )?;
    let agent = Daemon::start(
        "kchaos-agent",
        &["--scheduler", &url],
        folder,
        "session opened",
    )?;
    note("scheduler and agent are up, the agent has a session")?;

    let mut scene = Scene::start(&cgroups, folder)?;
    note("two nginx serve the same files to a client each")?;
    thread::sleep(WARMUP);
    let result = experience(&mut scene, &url, &experiment, &census);
    let (experiment, armed) =
        result.with_context(|| format!("{}\n{}", agent.words(), scheduler.words()))?;

    note("stopping: workloads, agent, scheduler")?;
    let (target, neighbour) = scene.finish()?;
    let daemons = vec![agent.stop(), scheduler.stop()];
    fs::remove_dir_all(folder)?;
    Ok(Account {
        kernel: nix::sys::utsname::uname()?
            .release()
            .to_string_lossy()
            .into_owned(),
        target,
        neighbour,
        experiment,
        daemons,
        armed,
        residue: census.residue()?,
    })
}

/// Before, during and after; also what was new in the kernel meanwhile.
fn experience(
    scene: &mut Scene,
    scheduler: &str,
    experiment: &Path,
    census: &Census,
) -> Result<(Experiment, Vec<Things>)> {
    note(format!("before: {} s of traffic", QUIET.as_secs()))?;
    scene.set(Phase::Before)?;
    thread::sleep(QUIET);

    scene.set(Phase::Arming)?;
    let asked = Instant::now();
    let mut applied = Applied::start(scheduler, experiment)?;
    let end = applied.wait_until_armed()?;
    scene.set(Phase::During)?;
    let armed = census.news()?;
    let left = end.saturating_duration_since(Instant::now() + MARGIN);
    note(format!(
        "during: armed {:.1} s after kchaos apply, {:.1} s of traffic",
        asked.elapsed().as_secs_f64(),
        left.as_secs_f64()
    ))?;
    thread::sleep(left);

    scene.set(Phase::Ending)?;
    let experiment = applied.wait()?;
    note(format!(
        "after: the experiment has ended, {} s of traffic",
        QUIET.as_secs()
    ))?;
    scene.set(Phase::After)?;
    thread::sleep(QUIET);
    Ok((experiment, armed))
}

impl Scene {
    fn start(cgroups: &Cgroups, folder: &Path) -> Result<Self> {
        let root = folder.join("www");
        fs::create_dir_all(&root)?;
        fs::write(root.join(http::PAGE), "<p>All is well.</p>\n")?;
        let target = Cgroup::new(&cgroups.target)?;
        let neighbour = Cgroup::new(&cgroups.neighbour)?;
        Ok(Self {
            target: Workload::start(target, &folder.join("target"), &root, TARGET)?,
            neighbour: Workload::start(neighbour, &folder.join("neighbour"), &root, NEIGHBOUR)?,
            sender: Sender::start(vec![TARGET.datagrams, NEIGHBOUR.datagrams])?,
        })
    }

    fn set(&mut self, phase: Phase) -> Result<()> {
        self.sender.set(phase);
        self.target.set(phase)?;
        self.neighbour.set(phase)
    }

    /// The neighbour first: it was made last, and so the target's cgroup has made their parents.
    fn finish(self) -> Result<(crate::run::account::Side, crate::run::account::Side)> {
        let sent = self.sender.stop()?;
        let neighbour = self.neighbour.finish(&sent)?;
        let target = self.target.finish(&sent)?;
        Ok((target, neighbour))
    }
}
