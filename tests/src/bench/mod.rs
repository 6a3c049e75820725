//! What faults cost those who are not hit, and those who are: measured in turns with the same calls
//! while nothing is armed, so that what a machine does besides falls on both.

mod caller;
mod empty;
mod report;
mod spread;
mod tracer;
mod way;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use aya_obj::btf::Btf;

pub use self::{
    caller::{ALL_CPUS, Call, LAST_CPU, run_on},
    empty::Empty,
    report::heading,
    spread::Spread,
    way::Way,
};
use self::{
    caller::{Caller, Costs},
    tracer::Tracer,
};
use crate::{agent::Agent, bpf::Loaded, cgroup::Cgroup, eventually};

/// What is armed is called this.
const NAME: &str = "bench";
/// An injected error has to be so many times cheaper than strace's.
const CHEAPER: f64 = 100.0;
/// Errors in one burst where another process is asked about each.
const ASKED_FOR: u32 = 10;

const PATIENCE: Duration = Duration::from_secs(30);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// How often each fault is armed.
    pub rounds: u32,
    /// How often it is each call's turn then.
    pub tries: u32,
}

impl Form {
    /// A minute.
    pub const SHORT: Self = Self {
        rounds: 2,
        tries: 10,
    };
    /// Some minutes.
    pub const LONG: Self = Self {
        rounds: 9,
        tries: 30,
    };
}

/// What is there while calls are timed that are not hit.
#[derive(Clone, Copy, Debug)]
pub enum There {
    /// Nothing: the control.
    Nothing,
    /// Programs that do nothing, which a fault can't be cheaper than.
    Empty(Empty),
    /// A fault for somebody else.
    Fault(Way),
}

/// What a call costs that is not hit.
#[derive(Clone, Debug)]
pub struct NotHit {
    /// What is there meanwhile.
    pub there: There,
    /// The call.
    pub call: Call,
    /// Nanoseconds of one call with nothing armed.
    pub bare: Spread,
    /// In times of that, measured before and after.
    pub ratio: Spread,
    /// What that may be at most.
    pub goal: Option<f64>,
}

/// What an openat costs that is made to fail.
#[derive(Clone, Debug)]
pub struct Hit {
    /// By what.
    pub way: Way,
    /// Nanoseconds of one call.
    pub cost: Spread,
    /// How many times cheaper that is than the same by strace, in the same round.
    pub cheaper: Spread,
    /// What that has to be at least.
    pub goal: f64,
}

/// All that was measured.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The control, then each way, by call.
    pub not_hit: Vec<NotHit>,
    /// Each way.
    pub hit: Vec<Hit>,
    /// Nanoseconds of the same openat when nobody makes it fail.
    pub bare: Spread,
    /// Nanoseconds of an openat that strace makes fail.
    pub by_strace: Spread,
    /// How long all of it took.
    pub took: Duration,
}

/// Costs of one way, a value for each round.
#[derive(Default)]
struct Measured {
    /// Of calls that are not hit, in times of the same with nothing armed.
    ratios: Vec<Costs>,
    /// Of an openat that is.
    errors: Vec<f64>,
}

/// Measures these ways, and nothing else but what they are compared with.
pub fn measure(timed: &Path, form: Form, ways: &[Way]) -> Figures {
    let start = Instant::now();
    let mut bench = Bench::new(timed, form);
    let mut measured: Vec<Measured> = ways.iter().map(|_| Measured::default()).collect();
    let kernel = Btf::from_sys_fs().expect("the lab's kernels know their types");
    let mut empty: Vec<(Empty, Vec<Costs>)> = Empty::beside(ways)
        .into_iter()
        .map(|empty| (empty, Vec::new()))
        .collect();
    let mut bare = vec![bench.bystander()];
    let (mut opens, mut by_strace) = (Vec::new(), Vec::new());
    for _ in 0..form.rounds {
        for (way, measured) in ways.iter().zip(&mut measured) {
            let (costs, error) = bench.by(way);
            bare.push(bench.bystander());
            measured.ratios.push(against(&bare, costs));
            measured.errors.push(error);
        }
        for (empty, ratios) in &mut empty {
            let costs = bench.beside(empty, &kernel);
            bare.push(bench.bystander());
            ratios.push(against(&bare, costs));
        }
        let costs = bench.target.costs(&[Call::Openat], form.tries);
        opens.push(costs[&Call::Openat]);
        by_strace.push(bench.by_strace());
        bare.push(bench.bystander());
    }
    let mut figures = Figures {
        not_hit: not_hit(There::Nothing, &bare, &control(&bare)),
        hit: Vec::new(),
        bare: Spread::of(opens),
        by_strace: Spread::of(by_strace.iter().copied()),
        took: start.elapsed(),
    };
    for (empty, ratios) in empty {
        let rows = not_hit(There::Empty(empty), &bare, &ratios);
        figures.not_hit.extend(rows);
    }
    for (way, measured) in ways.iter().zip(measured) {
        let rows = not_hit(There::Fault(*way), &bare, &measured.ratios);
        figures.not_hit.extend(rows);
        let rounds = measured.errors.iter().zip(&by_strace);
        figures.hit.push(Hit {
            way: *way,
            cheaper: Spread::of(rounds.map(|(own, its)| its / own)),
            cost: Spread::of(measured.errors),
            goal: CHEAPER,
        });
    }
    figures
}

/// The rows of what was there, by call.
fn not_hit(there: There, bare: &[Costs], ratios: &[Costs]) -> Vec<NotHit> {
    let spread = |all: &[Costs], call| Spread::of(all.iter().map(|costs| costs[&call]));
    let calls = ratios.first().into_iter().flat_map(BTreeMap::keys);
    calls
        .map(|call| NotHit {
            there,
            call: *call,
            bare: spread(bare, *call),
            ratio: spread(ratios, *call),
            goal: match there {
                There::Fault(way) => way.goal,
                There::Nothing | There::Empty(_) => None,
            },
        })
        .collect()
}

/// Costs in times of those with nothing armed before and after, which are the last two.
fn against(bare: &[Costs], costs: Costs) -> Costs {
    let [.., before, after] = bare else {
        unreachable!("one before and one after");
    };
    let times = |(call, cost)| (call, cost / f64::midpoint(before[&call], after[&call]));
    costs.into_iter().map(times).collect()
}

/// The same where nothing is armed in between either.
fn control(bare: &[Costs]) -> Vec<Costs> {
    let against_both = |three: &[Costs]| {
        let [before, between, after] = three else {
            unreachable!("windows of three");
        };
        against(&[before.clone(), after.clone()], between.clone())
    };
    bare.windows(3).map(against_both).collect()
}

/// Those who take part.
struct Bench {
    form: Form,
    /// The program that makes the calls.
    timed: PathBuf,
    agent: Agent,
    /// Before anything was armed.
    nothing: Loaded,
    bystander: Caller,
    target: Caller,
    target_cgroup: Cgroup,
    idle: Cgroup,
    /// Goes last, with its cgroup.
    _beside: Cgroup,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(timed: &Path, form: Form) -> Self {
        // On a tmpfs in the lab: what lies beneath shall not be what is measured.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let names = ["beside", "target", "idle"];
        let [beside, target_cgroup, idle] = names.map(Cgroup::new);
        let caller = |cgroup: &Cgroup| Caller::start(&mut cgroup.command("env"), timed, &file);
        let (bystander, target) = (caller(&beside), caller(&target_cgroup));
        // It has something to do each second while something is armed, and only then.
        run_on(&[0]);
        let agent = Agent::start(&[]);
        run_on(&ALL_CPUS);
        Self {
            form,
            timed: timed.to_owned(),
            agent,
            nothing: Loaded::now(),
            bystander,
            target,
            target_cgroup,
            idle,
            _beside: beside,
            folder,
        }
    }

    /// What calls cost whoever is no target.
    fn bystander(&mut self) -> Costs {
        self.bystander.costs(&Call::ALL, self.form.tries)
    }

    /// What calls cost while a fault is there: one who is not hit, and one who is.
    fn by(&mut self, way: &Way) -> (Costs, f64) {
        if way.is_for_commands() {
            self.by_filter(way)
        } else {
            self.by_hooks(way)
        }
    }

    /// What calls cost whoever is no target beside programs that do nothing.
    fn beside(&mut self, empty: &Empty, kernel: &Btf) -> Costs {
        let attached = empty.attach(kernel, &self.idle);
        let costs = self.bystander();
        drop(attached);
        self.wait_for_nothing();
        costs
    }

    fn by_hooks(&mut self, way: &Way) -> (Costs, f64) {
        let (target, idle) = (&self.target_cgroup, &self.idle);
        self.agent.apply(&way.experiment(NAME, target, idle));
        let costs = self.bystander();
        let count = Call::Openat.count();
        let error = self.target.cost_of_error(count, self.form.tries);
        self.agent.stop(NAME);
        self.wait_for_nothing();
        (costs, error)
    }

    fn wait_for_nothing(&self) {
        eventually("nothing is attached any more", PATIENCE, || {
            Loaded::now().links.is_subset(&self.nothing.links)
        });
    }

    /// A filter is a process's own, and everybody else has nothing of it: who is not hit is the command
    /// itself, with calls that are not named.
    fn by_filter(&mut self, way: &Way) -> (Costs, f64) {
        let mut run = Command::new("kchaos");
        run.args(["run", "--seed", "1", "--fault", &way.word(), "--"]);
        let mut caller = Caller::start(&mut run, &self.timed, &self.file());
        let costs = caller.costs(&[Call::Getppid, Call::Read], self.form.tries);
        let error = caller.cost_of_error(ASKED_FOR, self.form.tries);
        (costs, error)
    }

    /// What an openat costs that strace makes fail.
    fn by_strace(&mut self) -> f64 {
        let tracer = Tracer::attach(self.target.pid());
        eventually("strace injects", PATIENCE, || self.target.fails_to_open());
        let cost = self.target.cost_of_error(ASKED_FOR, self.form.tries);
        drop(tracer);
        eventually("strace has let go", PATIENCE, || {
            !self.target.fails_to_open()
        });
        cost
    }

    /// What is opened.
    fn file(&self) -> PathBuf {
        self.folder.path().join("file")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(costs: &[f64]) -> Vec<Costs> {
        costs
            .iter()
            .map(|cost| Costs::from([(Call::Read, *cost)]))
            .collect()
    }

    #[test]
    fn a_steady_drift_is_no_difference() {
        let times = |costs: &[f64]| -> Vec<f64> {
            let control = control(&bare(costs));
            control.iter().map(|costs| costs[&Call::Read]).collect()
        };
        assert_eq!(times(&[1.0, 2.0, 3.0, 4.0]), [1.0, 1.0]);
        assert_eq!(times(&[1.0, 3.0, 2.0]), [2.0]);
        let armed = Costs::from([(Call::Read, 6.0)]);
        let between_the_last = against(&bare(&[9.0, 2.0, 4.0]), armed);
        assert_eq!(between_the_last, Costs::from([(Call::Read, 2.0)]));
    }
}
