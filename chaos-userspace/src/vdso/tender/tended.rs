//! Rules, processes and their control pages: what there is, and what has to be done about it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::message::{Rule, Tended, Whom};
use crate::{
    journal::{Journal, JournalError, Patch, PatchedBytes},
    pause::Watchdog,
    scheduler::draw,
    state::Owner,
    target::Stat,
    vdso::{
        control::{Base, Control, SLOTS, coarse_lag_ns},
        patch::{Before, Bytes, PatchError, Patched},
        stub::Header,
        tracee::{self, Tracee},
        undo::{self, Restored, everybody},
    },
};

/// How long the first reading that is bent lies behind the moment in which that was decided: nobody
/// has read a later one meanwhile.
const MARGIN_NS: u64 = 2_000_000;

/// How long coarse clocks are waited for at most: some ticks.
const MOST_LAG: Duration = Duration::from_millis(100);

/// Who could not be patched is tried again so much later, at first …
const SOON: Duration = Duration::from_millis(20);

/// … and then.
const AGAIN: Duration = Duration::from_millis(500);

/// How long anything may take that is done at once.
pub(super) const BUSY: Duration = Duration::from_secs(2);

/// How often it is looked for children at most, when a fault has ended.
const SWEEPS: usize = 8;

/// How long the journal's lock is waited for, while a process stands still.
const PATIENCE: Duration = Duration::from_millis(500);

/// All that a tender has.
#[derive(Debug)]
pub(super) struct Tending {
    /// Kills this process when it is away for too long while it may hold somebody.
    pub(super) watchdog: Watchdog,
    owner: Owner,
    boot_id: String,
    lease: Duration,
    journal: Journal,
    rules: BTreeMap<u64, Live>,
    processes: HashMap<u32, Process>,
    families: HashMap<u64, Family>,
    /// When the owner was heard.
    heard: Instant,
}

#[derive(Debug)]
struct Live {
    rule: Rule,
    /// Boot time from which it bends.
    epoch_ns: u64,
    state: Tended,
    /// Processes that were counted as found, and have no stub.
    refused: HashSet<u32>,
    /// It is not a gap what is found the first time.
    begun: bool,
    /// Its deadline has passed, or the lease.
    over: bool,
}

#[derive(Debug)]
struct Process {
    program: Program,
    state: State,
}

/// What tells a process from a later one of the same pid, and from what it becomes by an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Program {
    start: u64,
    /// Another one after most execs. A child of vfork has the memory of its parent until then, which
    /// stays when the child leaves it.
    stack: u64,
}

impl Program {
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let stat = Stat::parse(&text)?;
        Some(Self {
            start: stat.start_ticks,
            stack: stat.start_stack,
        })
    }
}

#[derive(Debug)]
enum State {
    Patched(Patched),
    /// Not patched.
    Refused {
        /// Not to be looked at before.
        again: Instant,
        /// It has been tried twice.
        counted: bool,
    },
}

/// A control page with those who share it.
#[derive(Debug)]
struct Family {
    control: Control,
    slots: [Option<Slot>; SLOTS],
    /// Rules that found no slot, and were told so.
    without: HashSet<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    rule: u64,
    /// Boot time from which it bends here.
    epoch_ns: u64,
    /// Which pulse the page is set for.
    pulse: Option<u64>,
    counted: bool,
}

impl Tending {
    pub(super) fn new(
        owner: Owner,
        lease: Duration,
        journal: Journal,
        boot_id: String,
        watchdog: Watchdog,
    ) -> Self {
        Self {
            watchdog,
            owner,
            boot_id,
            lease,
            journal,
            rules: BTreeMap::new(),
            processes: HashMap::new(),
            families: HashMap::new(),
            heard: Instant::now(),
        }
    }

    /// It gets on: there may be many processes to see to.
    fn go_on(&mut self) {
        if let Err(error) = self.watchdog.feed(BUSY) {
            tracing::debug!(%error, "the watchdog can't be set");
        }
    }

    /// The owner lives.
    pub(super) fn hear(&mut self) {
        // What was over by then stays so.
        self.lapse();
        self.heard = Instant::now();
    }

    /// Whether somebody's clocks are to be bent.
    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether there is anything to do.
    pub(super) fn is_idle(&self) -> bool {
        self.rules.is_empty() && self.processes.is_empty()
    }

    /// Takes a rule on, and patches everybody who is there.
    pub(super) fn begin(&mut self, rule: Rule) -> Result<Tended, String> {
        let found = found(&rule);
        for pid in found.keys() {
            if self.processes.contains_key(pid) {
                continue;
            }
            // Before anybody is touched.
            if let Err(PatchError::Never(why)) = Before::look(*pid).map(drop) {
                return Err(format!("process {pid}: {why}"));
            }
        }
        let id = rule.id;
        let epoch_ns = rule.start_ns;
        self.rules.insert(
            id,
            Live {
                rule,
                epoch_ns,
                state: Tended::default(),
                refused: HashSet::new(),
                begun: false,
                over: false,
            },
        );
        self.look_around();
        let now_ns = now(Base::Boottime);
        let Some(live) = self.rules.get_mut(&id) else {
            return Err("it is gone".to_owned());
        };
        live.begun = true;
        let epoch_ns = live.rule.start_ns.max(now_ns + MARGIN_NS);
        // It lives as long as it was to live.
        let delay_ns = epoch_ns - live.rule.start_ns;
        live.rule.deadline_ns = live.rule.deadline_ns.saturating_add(delay_ns);
        live.rule.start_ns = epoch_ns;
        live.epoch_ns = epoch_ns;
        live.state.deadline_ns = live.rule.deadline_ns;
        let state = live.state.clone();
        let all_refused = state.patched == 0;
        if let (true, Some(why)) = (all_refused, &state.refused) {
            let why = why.clone();
            self.end(id);
            return Err(why);
        }
        for family in self.families.values_mut() {
            for slot in family.slots.iter_mut().flatten() {
                if slot.rule == id {
                    slot.epoch_ns = epoch_ns;
                }
            }
        }
        if epoch_ns == now_ns + MARGIN_NS {
            // Whoever is told that they are bent finds them so.
            self.keep();
            let until = Instant::now() + MOST_LAG;
            // Coarse clocks as well, of which `time` reads one: they are late.
            while now(Base::Boottime) < epoch_ns + coarse_lag_ns() && Instant::now() < until {
                thread::sleep(Duration::from_nanos(MARGIN_NS));
            }
        }
        // It has been said while this took its time.
        self.heard = Instant::now();
        self.keep();
        Ok(state)
    }

    /// How it goes, if it is known.
    pub(super) fn state(&mut self, id: u64) -> Option<Tended> {
        self.count();
        self.rules.get(&id).map(|live| live.state.clone())
    }

    /// Who was not heard for as long as the lease has no rules any more.
    fn lapse(&mut self) {
        let lapsed = self.heard.elapsed() >= self.lease;
        let now_ns = now(Base::Boottime);
        for live in self.rules.values_mut() {
            live.over |= live.begun && live.rule.deadline_ns <= now_ns;
            if lapsed && !live.over {
                live.over = true;
                live.state.lapsed = true;
            }
        }
    }

    /// Ends a rule: first for everybody, by a store each, then in their code.
    pub(super) fn end(&mut self, id: u64) -> Tended {
        for family in self.families.values() {
            for (index, slot) in family.slots.iter().enumerate() {
                if slot.is_some_and(|slot| slot.rule == id) {
                    family.control.end(index);
                }
            }
        }
        let state = self.state(id);
        self.rules.remove(&id);
        self.look_around();
        self.sweep();
        state.unwrap_or_default()
    }

    /// Restores children that were forked between the last look and the moment in which their parents
    /// were restored: they are in no list, and need not be in a target. One look may miss a child of
    /// those, which the next one finds. Whose page is in use yet is seen to as ever.
    fn sweep(&mut self) {
        for _ in 0..SWEEPS {
            let mut found = false;
            for pid in everybody() {
                self.go_on();
                let is_left =
                    |it: &Header| self.is_ours(it) && !self.families.contains_key(&it.family);
                found |= matches!(undo::restore(pid, is_left), Ok(Restored::Now));
            }
            if !found {
                return;
            }
        }
    }

    fn is_ours(&self, header: &Header) -> bool {
        (header.owner_pid, header.owner_start) == (self.owner.pid, self.owner.start)
    }

    /// Ends all of it.
    pub(super) fn end_all(&mut self) {
        let ids: Vec<u64> = self.rules.keys().copied().collect();
        for id in ids {
            self.end(id);
        }
    }

    /// A child that was held has made its exec, and stands still behind it.
    pub(super) fn at_exec(&mut self, tid: i32) {
        let Ok(pid) = u32::try_from(tid) else { return };
        for live in self.rules.values_mut() {
            if live.rule.held == Some(pid) {
                live.rule.held = None;
            }
        }
        let wanted = self.wanted();
        let Some((program, rules)) = wanted.get(&pid) else {
            // Nobody's; it goes on when this is dropped.
            drop(Tracee::at_exec(tid));
            return;
        };
        let tried = self.tried(pid, *program);
        let tracee = Tracee::at_exec(tid).map_err(PatchError::from);
        let done = tracee.and_then(|tracee| self.patch(pid, *program, rules, Some(tracee), false));
        self.note(pid, *program, rules, tried, done);
        self.keep();
    }

    /// Finds who came, who went, and who has become another program.
    pub(super) fn look_around(&mut self) {
        self.lapse();
        let wanted = self.wanted();
        self.drop_gone();
        for (pid, (program, rules)) in &wanted {
            match self.processes.get_mut(pid) {
                Some(Process {
                    state: State::Patched(_),
                    program: known,
                }) if known == program => {
                    self.choose_or_later(*pid, rules, true);
                }
                Some(Process {
                    state: State::Refused { again, .. },
                    program: known,
                }) if known == program && Instant::now() < *again => {}
                _ => {
                    let late = rules
                        .iter()
                        .any(|id| self.rules.get(id).is_some_and(|live| live.begun));
                    let tried = self.tried(*pid, *program);
                    let done = self.patch(*pid, *program, rules, None, late);
                    self.note(*pid, *program, rules, tried, done);
                }
            }
        }
        let unwanted: Vec<u32> = self
            .processes
            .keys()
            .filter(|pid| !wanted.contains_key(pid))
            .copied()
            .collect();
        for pid in unwanted {
            self.restore(pid);
        }
        self.families_without_members();
    }

    /// Who is in the targets, as which program, and the rules that concern it.
    fn wanted(&self) -> HashMap<u32, (Program, Vec<u64>)> {
        let mut wanted: HashMap<u32, (Program, Vec<u64>)> = HashMap::new();
        for (id, live) in self.rules.iter().filter(|(_, live)| !live.over) {
            for (pid, program) in found(&live.rule) {
                wanted
                    .entry(pid)
                    .or_insert_with(|| (program, Vec::new()))
                    .1
                    .push(*id);
            }
        }
        wanted
    }

    fn drop_gone(&mut self) {
        self.count();
        let gone: Vec<u32> = self
            .processes
            .iter()
            .filter(|(pid, process)| match &process.state {
                State::Patched(patched) if patched.is_there() => {
                    Program::of(**pid) != Some(process.program)
                }
                State::Patched(_) => true,
                State::Refused { .. } => Program::of(**pid) != Some(process.program),
            })
            .map(|(pid, _)| *pid)
            .collect();
        for pid in gone {
            if let Some(Process {
                program,
                state: State::Patched(_),
            }) = self.processes.remove(&pid)
            {
                self.forget(pid, program.start);
            }
        }
    }

    /// Makes sure that a process has the stub, and its rules a place in its control page.
    fn patch(
        &mut self,
        pid: u32,
        program: Program,
        rules: &[u64],
        tracee: Option<Tracee>,
        late: bool,
    ) -> Result<(), PatchError> {
        self.go_on();
        let before = Before::look(pid)?;
        let before = match before.adopt() {
            Ok((patched, header)) => {
                drop(tracee);
                if !self.families.contains_key(&header.family) {
                    if self.is_ours(&header) {
                        // The child of one whose fault is over.
                        undo::restore(pid, |_| true).map_err(PatchError::Later)?;
                        let why = "its clocks were bent by a fault that has ended";
                        return Err(PatchError::Later(why.to_owned()));
                    }
                    return Err(PatchError::Never(
                        "another kchaos bends its clocks: end that fault first".to_owned(),
                    ));
                }
                let bytes = header.bytes_replaced();
                self.write_down(self.record(pid, program.start, bytes))
                    .map_err(|error| PatchError::Later(error.to_string()))?;
                let state = State::Patched(patched);
                self.processes.insert(pid, Process { program, state });
                self.choose_or_later(pid, rules, false);
                return Ok(());
            }
            Err(before) => before,
        };
        let mut tracee = match tracee {
            Some(tracee) => tracee,
            // It stops behind its exec, or has already, and then has its turn before it runs anything.
            None if tracee::is_ours(pid) && self.tried(pid, program).is_none() => {
                return Err(PatchError::Gone);
            }
            None => Tracee::stop(pid)?,
        };
        // It may have made an exec before it stopped.
        if Program::of(pid) != Some(program) || !before.is_there() {
            return Err(PatchError::Gone);
        }
        // Then it has run nothing yet.
        let late = late && !tracee.is_followed();
        let family = draw();
        let owner = (self.owner.pid, self.owner.start);
        let record = self.record(pid, program.start, before.bytes());
        // Before anything of it is touched: who may have to be repaired is known.
        self.write_down(record)
            .map_err(|error| PatchError::Later(error.to_string()))?;
        // All slots are off until they are set.
        let slots = (1 << rules.len().min(SLOTS)) - 1;
        let (patched, control) = match before.patch(&mut tracee, owner, family, slots) {
            Ok(done) => done,
            Err(error) => {
                // It is put back as it was before that is said; what may be on its way yet is not.
                drop(tracee);
                if !matches!(error, PatchError::Later(_)) {
                    self.forget(pid, program.start);
                }
                return Err(error);
            }
        };
        self.families.insert(
            family,
            Family {
                control,
                slots: [None; SLOTS],
                without: HashSet::new(),
            },
        );
        let state = State::Patched(patched);
        self.processes.insert(pid, Process { program, state });
        self.choose_or_later(pid, rules, late);
        // It goes on with bent clocks.
        self.keep();
        drop(tracee);
        Ok(())
    }

    /// What can't be said to the process now is said with the next look.
    fn choose_or_later(&mut self, pid: u32, rules: &[u64], late: bool) {
        if let Err(error) = self.choose(pid, rules, late) {
            tracing::debug!(pid, %error, "its rules are not changed");
        }
    }

    /// Gives rules a place in the control page of a process, and has the process look there. What is
    /// new to the page is counted: a child that shares it is one program with its parent.
    fn choose(&mut self, pid: u32, rules: &[u64], late: bool) -> Result<(), PatchError> {
        let Some(Process {
            state: State::Patched(patched),
            ..
        }) = self.processes.get_mut(&pid)
        else {
            return Ok(());
        };
        let Some(family) = self.families.get_mut(&patched.family) else {
            return Ok(());
        };
        let mut slots = 0_u64;
        for id in rules {
            let Some(live) = self.rules.get_mut(id) else {
                continue;
            };
            let Some(index) = family.place(*id) else {
                if family.without.insert(*id) {
                    live.state.found += 1;
                    live.state.refused = Some(format!(
                        "process {pid}: it has {SLOTS} faults of its clocks already"
                    ));
                }
                continue;
            };
            if family.slots[index].is_none() {
                let was_counted = family.without.remove(id) || live.refused.remove(&pid);
                live.state.found += u64::from(!was_counted);
                live.state.patched += 1;
                live.state.late += u64::from(late && live.begun);
            }
            let slot = family.slots[index].get_or_insert(Slot {
                rule: *id,
                epoch_ns: live.epoch_ns,
                pulse: None,
                counted: false,
            });
            // It has read its clock as it is: from here on it goes on at another speed.
            if late && live.begun && slot.pulse.is_none() && live.rule.wanted.needs_own_start() {
                slot.epoch_ns = slot.epoch_ns.max(now(Base::Boottime) + MARGIN_NS);
            }
            slots |= 1 << index;
        }
        if slots != patched.slots {
            patched.choose(pid, slots)?;
        }
        Ok(())
    }

    /// Whether a program could not be patched before, and if so, whether that was counted.
    fn tried(&self, pid: u32, program: Program) -> Option<bool> {
        match self.processes.get(&pid) {
            Some(Process {
                program: known,
                state: State::Refused { counted, .. },
            }) if *known == program => Some(*counted),
            _ => None,
        }
    }

    /// Counts what came of it. Who could not be patched is tried again before that is counted: it may
    /// have been in the middle of an exec.
    fn note(
        &mut self,
        pid: u32,
        program: Program,
        rules: &[u64],
        tried: Option<bool>,
        done: Result<(), PatchError>,
    ) {
        let refused = match done {
            // What has a place is counted: see `choose`.
            Ok(()) | Err(PatchError::Gone) => return,
            Err(error) => format!("process {pid}: {error}"),
        };
        let rest = if tried.is_none() { SOON } else { AGAIN };
        let state = State::Refused {
            again: Instant::now() + rest,
            counted: tried.is_some(),
        };
        self.processes.insert(pid, Process { program, state });
        for id in rules {
            if let Some(live) = self.rules.get_mut(id) {
                if tried == Some(false) && live.refused.insert(pid) {
                    live.state.found += 1;
                }
                live.state.refused = Some(refused.clone());
            }
        }
    }

    fn restore(&mut self, pid: u32) {
        self.go_on();
        let Some(Process { program, state }) = self.processes.remove(&pid) else {
            return;
        };
        let State::Patched(mut patched) = state else {
            return;
        };
        // Nothing is bent from here on, whatever becomes of the bytes.
        let restored = patched.choose(pid, 0).and_then(|()| patched.restore(pid));
        match restored {
            Ok(()) | Err(PatchError::Gone) => self.forget(pid, program.start),
            Err(PatchError::Never(error)) => {
                tracing::warn!(
                    pid,
                    error,
                    "its vDSO goes on by way of the stub, which bends nothing"
                );
            }
            Err(PatchError::Later(_)) => {
                let state = State::Patched(patched);
                self.processes.insert(pid, Process { program, state });
            }
        }
    }

    /// Keeps what is due alive, for another lease, and has it begin anew with each pulse.
    pub(super) fn keep(&mut self) {
        let silent = self.heard.elapsed();
        let left = self.lease.saturating_sub(silent);
        let left_ns = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        if left_ns == 0 {
            return;
        }
        for family in self.families.values_mut() {
            for (index, slot) in family.slots.iter_mut().enumerate() {
                let Some(slot) = slot else { continue };
                let Some(live) = self.rules.get(&slot.rule) else {
                    continue;
                };
                if live.begun && !live.over {
                    slot.keep(&family.control, index, &live.rule, left_ns);
                }
            }
        }
    }

    /// Counts pages in which a reading was bent.
    fn count(&mut self) {
        for family in self.families.values_mut() {
            for (index, slot) in family.slots.iter_mut().enumerate() {
                let Some(slot) = slot else { continue };
                if !slot.counted && family.control.was_hit(index) {
                    slot.counted = true;
                    if let Some(live) = self.rules.get_mut(&slot.rule) {
                        live.state.bent += 1;
                    }
                }
            }
        }
    }

    fn families_without_members(&mut self) {
        let used: HashSet<u64> = self
            .processes
            .values()
            .filter_map(|process| match &process.state {
                State::Patched(patched) => Some(patched.family),
                State::Refused { .. } => None,
            })
            .collect();
        let rules = &self.rules;
        self.families.retain(|id, family| {
            for (index, slot) in family.slots.iter_mut().enumerate() {
                if slot.is_some_and(|slot| !rules.contains_key(&slot.rule)) {
                    family.control.clear(index);
                    *slot = None;
                }
            }
            used.contains(id)
        });
    }

    fn record(&self, pid: u32, start: u64, bytes: Vec<Bytes>) -> Patch {
        let bytes = bytes.into_iter().map(|bytes| PatchedBytes {
            address: bytes.address,
            original: bytes.original,
        });
        Patch {
            pid,
            start,
            owner_pid: self.owner.pid,
            owner_start: self.owner.start,
            boot_id: self.boot_id.clone(),
            bytes: bytes.collect(),
        }
    }

    fn write_down(&self, record: Patch) -> Result<(), JournalError> {
        self.journal.lock(PATIENCE)?.begin_patch(record)
    }

    fn forget(&self, pid: u32, start: u64) {
        let done = self
            .journal
            .lock(PATIENCE)
            .and_then(|mut journal| journal.patch_done(pid, start));
        if let Err(error) = done {
            tracing::warn!(pid, %error, "stays in the journal");
        }
    }
}

impl Family {
    /// The slot of a rule: its own, or one that is free.
    fn place(&self, rule: u64) -> Option<usize> {
        let own = |slot: &Option<Slot>| slot.is_some_and(|slot| slot.rule == rule);
        self.slots
            .iter()
            .position(own)
            .or_else(|| self.slots.iter().position(Option::is_none))
    }
}

impl Slot {
    fn keep(&mut self, control: &Control, index: usize, rule: &Rule, left_ns: u64) {
        let now_ns = now(Base::Boottime);
        let mut end_ns = rule.deadline_ns;
        let mut from_ns = self.epoch_ns;
        let mut pulse = 0;
        if let Some(it) = rule.pulse_ns {
            let since_ns = now_ns.saturating_sub(rule.start_ns);
            pulse = since_ns / it.every_ns.max(1);
            if since_ns % it.every_ns.max(1) >= it.active_ns {
                // The next one, ahead of its time.
                pulse += 1;
            }
            let begins_ns = rule
                .start_ns
                .saturating_add(pulse.saturating_mul(it.every_ns));
            from_ns = from_ns.max(begins_ns);
            end_ns = end_ns.min(begins_ns.saturating_add(it.active_ns));
        }
        let end_ns = end_ns.min(now_ns.saturating_add(left_ns));
        let fresh = self.pulse != Some(pulse);
        self.pulse = Some(pulse);
        for base in &rule.wanted.bases {
            // Both clocks at one moment, as nearly as they can be read.
            let (boot, reading) = (Base::Boottime.now(), base.now());
            let place = |at_ns| place(at_ns, boot, reading);
            if fresh {
                control.end_base(*base, index);
                control.set(*base, index, &rule.wanted.bend, place(from_ns));
            }
            control.keep(*base, index, place(end_ns));
        }
    }
}

/// What a clock reads at a boot time, if it reads this at that one.
fn place(at_ns: u64, boot_ns: i64, reading_ns: i64) -> i64 {
    let ahead_ns = i64::try_from(at_ns)
        .unwrap_or(i64::MAX)
        .saturating_sub(boot_ns);
    reading_ns.saturating_add(ahead_ns)
}

fn now(base: Base) -> u64 {
    u64::try_from(base.now()).unwrap_or(0)
}

/// The processes of a rule's target, as which program.
fn found(rule: &Rule) -> HashMap<u32, Program> {
    let mut pids = Vec::new();
    match &rule.target {
        Whom::Process(pid, start) => {
            if Program::of(*pid).is_some_and(|program| program.start == *start) {
                pids.push(*pid);
            }
        }
        Whom::Cgroups(folders) => {
            let excluded: Vec<PathBuf> = rule.excluded.iter().map(PathBuf::from).collect();
            for folder in folders {
                members(Path::new(folder), &excluded, &mut pids);
            }
        }
    }
    pids.into_iter()
        .filter(|pid| rule.held != Some(*pid))
        .filter_map(|pid| Some((pid, Program::of(pid)?)))
        .collect()
}

fn members(folder: &Path, excluded: &[PathBuf], pids: &mut Vec<u32>) {
    if excluded.iter().any(|out| out == folder) {
        return;
    }
    let Ok(text) = fs::read_to_string(folder.join("cgroup.procs")) else {
        return;
    };
    // 0 is somebody of another pid namespace.
    let parsed = text.lines().filter_map(|line| line.parse::<u32>().ok());
    pids.extend(parsed.filter(|pid| *pid != 0));
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            members(&entry.path(), excluded, pids);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_end_is_no_time_before_all_others() {
        assert_eq!(place(1_500, 1_000, 7_000), 7_500);
        assert_eq!(place(500, 1_000, 7_000), 6_500);
        assert_eq!(place(u64::MAX, 1_000, i64::MAX / 2), i64::MAX);
        assert_eq!(place(0, i64::MAX, -7), i64::MIN);
    }
}
