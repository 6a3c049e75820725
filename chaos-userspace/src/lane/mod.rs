//! Lanes: devices of our own in network namespaces of targets, over which packets take a detour.
//!
//! A lane is an `ifb` with a queue that holds each packet until the time of its stamp (`fq`), and filters on
//! the other devices of the namespace that take packets there. None of it ends with us, so it is in the
//! journal before it is made; while it is there and no rule of ours lives, its programs let everything pass.
//!
//! Devices are called [`NAME_PREFIX`] and the owner's pid, filters that with the owner's pid and start.

mod tc;
mod undo;

use std::{
    collections::BTreeSet,
    io,
    os::fd::BorrowedFd,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::net::if_::{if_nameindex, if_nametoindex};

use self::tc::{Hooks, Side, Tc};
use crate::{
    boot,
    journal::{self, Journal, JournalError},
    knob::PATIENCE,
    state::Owner,
    target::Netns,
};

pub(crate) use undo::{Removed, undo};

/// What the names of our devices begin with, so that others can tell.
pub(crate) const NAME_PREFIX: &str = "kchaos";

/// So long what still waits in the queue of a lane may go before the lane does: what is left then is lost.
const DRAIN: Duration = Duration::from_secs(1);

/// Why there is no lane.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    /// Something of the kernel's is missing, or it refused.
    #[error("{what}: {source}")]
    Kernel {
        /// What was being done.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nothing is made that is not written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> LaneError {
    let what = what.into();
    move |source| LaneError::Kernel { what, source }
}

/// The programs of a lane on the devices that it covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Programs<'a> {
    /// Picks what leaves.
    pub(crate) out: BorrowedFd<'a>,
    /// Lets pass what comes back.
    pub(crate) back: BorrowedFd<'a>,
    /// Picks what arrives, if a rule is about that.
    pub(crate) into: Option<BorrowedFd<'a>>,
}

/// One lane. It is taken away when this is dropped.
#[derive(Debug)]
pub(crate) struct Lane {
    netns: Netns,
    /// Where it is written down; `None` in a namespace that ends with us.
    journal: Option<Journal>,
    entry: journal::Lane,
    /// Devices that have our filters, on these sides.
    covered: BTreeSet<(u32, Side)>,
}

impl Lane {
    /// Makes the device with its queue; no packet takes it yet.
    ///
    /// # Errors
    /// What is missing here, or what the kernel refused; nothing is left then.
    pub(crate) fn make(netns: &Netns, journal: Option<&Journal>) -> Result<Self, LaneError> {
        load_module()?;
        let owner = Owner::this();
        let entry = journal::Lane {
            netns: netns.id(),
            device: format!("{NAME_PREFIX}{}", owner.pid),
            owner_pid: owner.pid,
            owner_start: owner.start,
            boot_id: boot::id(),
            hooks: Vec::new(),
            index: 0,
        };
        write_down(journal, &entry)?;
        let name = entry.device.clone();
        let made = inside(netns, move |tc| {
            tc.add_device(&name).map_err(failed("add an ifb"))?;
            if_nametoindex(name.as_str())
                .map_err(|errno| failed("find the ifb again")(errno.into()))
        });
        let index = match made {
            Ok(index) => index,
            Err(error) => {
                // One of this name is not ours.
                if let Some(journal) = journal {
                    journal.lock(PATIENCE)?.drop_lane(&entry)?;
                }
                return Err(error);
            }
        };
        let lane = Self {
            netns: netns.clone(),
            journal: journal.cloned(),
            entry: journal::Lane { index, ..entry },
            covered: BTreeSet::new(),
        };
        lane.write_down()?;
        lane.inside(|tc| tc.add_queue(index).map_err(failed("give the ifb an fq")))?;
        Ok(lane)
    }

    /// The number of its device.
    pub(crate) const fn device(&self) -> u32 {
        self.entry.index
    }

    /// Sets the program in front of its queue.
    ///
    /// # Errors
    /// What the kernel refused.
    pub(crate) fn shape(&self, program: BorrowedFd<'_>) -> Result<(), LaneError> {
        let (device, name) = (self.device(), filter_name(&self.entry));
        self.inside(move |tc| {
            tc.add_hooks(device)
                .map_err(failed("give the ifb a clsact"))?;
            tc.add_shaper(device, &name, program)
                .map_err(failed("give the ifb a filter"))
        })
    }

    /// Sets these programs on every device of the namespace that has them not yet. `false` if the lane's own is
    /// gone: somebody has taken it away.
    ///
    /// # Errors
    /// What the kernel refused of one of them; the others have them.
    pub(crate) fn cover(&mut self, programs: Programs<'_>) -> Result<bool, LaneError> {
        let devices = self.inside(|_| {
            let all = if_nameindex().map_err(|errno| failed("list devices")(errno.into()))?;
            Ok(all
                .iter()
                .map(|device| (device.index(), device.name().to_string_lossy().into_owned()))
                .collect::<Vec<_>>())
        })?;
        let is_there = |index| devices.iter().any(|(device, _)| *device == index);
        if !is_there(self.device()) {
            return Ok(false);
        }
        self.covered.retain(|(device, _)| is_there(*device));
        self.entry.hooks.retain(|device| is_there(*device));
        let mut result = Ok(true);
        for (device, name) in &devices {
            // Not on one that somebody has made for the same purpose.
            if *device == self.device() || name.starts_with(NAME_PREFIX) {
                continue;
            }
            match self.cover_one(*device, programs) {
                // It is gone again.
                Err(LaneError::Kernel { source, .. })
                    if source.raw_os_error() == Some(libc::ENODEV) => {}
                Err(LaneError::Kernel { what, source }) => {
                    let what = format!("{what} of the device {name}");
                    result = Err(LaneError::Kernel { what, source });
                }
                Err(other) => result = Err(other),
                Ok(()) => {}
            }
        }
        result
    }

    fn cover_one(&mut self, device: u32, programs: Programs<'_>) -> Result<(), LaneError> {
        let (name, to) = (filter_name(&self.entry), self.device());
        if !self.covered.contains(&(device, Side::Out)) {
            self.make_hooks(device)?;
            self.inside(|tc| {
                let added = tc
                    .add_passer(device, &name, programs.back)
                    .and_then(|()| tc.add_picker(device, Side::Out, &name, programs.out, to));
                if added.is_err() {
                    // All of it or nothing.
                    tc.remove_filters(device, Side::Out, &name)
                        .map_err(failed("take back a filter"))?;
                }
                added.map_err(failed(
                    "add a filter (cls_bpf with act_mirred and act_gact)",
                ))
            })?;
            self.covered.insert((device, Side::Out));
        }
        if let Some(program) = programs.into
            && !self.covered.contains(&(device, Side::In))
        {
            self.inside(|tc| {
                tc.add_picker(device, Side::In, &name, program, to)
                    .map_err(failed("add a filter"))
            })?;
            self.covered.insert((device, Side::In));
        }
        Ok(())
    }

    /// Makes room for filters on a device, where there is none.
    fn make_hooks(&mut self, device: u32) -> Result<(), LaneError> {
        let found = self.inside(|tc| tc.hooks(device).map_err(failed("list queues")))?;
        match found {
            Hooks::Clsact => return Ok(()),
            Hooks::Other(kind) => {
                let what = format!(
                    "a {kind} of somebody else's leaves no room for a clsact, and has to go first"
                );
                return Err(failed(what)(io::Error::from_raw_os_error(libc::EEXIST)));
            }
            Hooks::None => {}
        }
        // Written down as ours before it is made.
        self.entry.hooks.push(device);
        let made = self
            .write_down()
            .and_then(|()| self.inside(|tc| tc.add_hooks(device).map_err(failed("add a clsact"))));
        if !matches!(made, Ok(true)) {
            // Somebody was faster, or there is none.
            self.entry.hooks.retain(|hooks| *hooks != device);
            self.write_down()?;
        }
        made.map(drop)
    }

    fn write_down(&self) -> Result<(), LaneError> {
        write_down(self.journal.as_ref(), &self.entry)
    }

    fn inside<T: Send>(
        &self,
        work: impl FnOnce(&mut Tc) -> Result<T, LaneError> + Send,
    ) -> Result<T, LaneError> {
        inside(&self.netns, work)
    }
}

fn write_down(journal: Option<&Journal>, entry: &journal::Lane) -> Result<(), LaneError> {
    if let Some(journal) = journal {
        journal.lock(PATIENCE)?.add_lane(entry)?;
    }
    Ok(())
}

fn inside<T: Send>(
    netns: &Netns,
    work: impl FnOnce(&mut Tc) -> Result<T, LaneError> + Send,
) -> Result<T, LaneError> {
    netns
        .enter(|| work(&mut Tc::open().map_err(failed("open a netlink socket"))?))
        .map_err(failed("enter the network namespace"))?
}

impl Drop for Lane {
    fn drop(&mut self) {
        let left = match &self.journal {
            Some(journal) => undo::undo_in(&self.netns, journal, &self.entry, PATIENCE)
                .map(drop)
                .map_err(|error| error.to_string()),
            None => Ok(()),
        };
        if let Err(reason) = left {
            tracing::error!(
                device = self.entry.device,
                reason,
                "a lane is left to the guard"
            );
        }
    }
}

/// What the filters of a lane are known by, on any device: nobody else's are called so.
fn filter_name(entry: &journal::Lane) -> String {
    format!("{NAME_PREFIX}-{}-{}", entry.owner_pid, entry.owner_start)
}

/// Without parameters the module would make two devices in the namespace that the machine began with.
fn load_module() -> Result<(), LaneError> {
    if Path::new("/sys/module/ifb").exists() || is_built_in() {
        return Ok(());
    }
    let said = match Command::new("modprobe").args(["ifb", "numifbs=0"]).output() {
        Ok(loaded) if loaded.status.success() => return Ok(()),
        Ok(loaded) => String::from_utf8_lossy(&loaded.stderr).trim().to_owned(),
        Err(error) => format!("modprobe: {error}"),
    };
    // The remedy first: what follows may be cut.
    Err(failed(
        "no module ifb (CONFIG_IFB); load it with `modprobe ifb numifbs=0`",
    )(io::Error::other(said)))
}

/// Whether the kernel has it without a module: it has no folder in /sys/module then, because its only parameter can't
/// be seen there (drivers/net/ifb.c).
fn is_built_in() -> bool {
    std::fs::read_to_string("/proc/kallsyms")
        .is_ok_and(|symbols| symbols.lines().any(|line| line.ends_with(" ifb_xmit")))
}

/// Waits until nothing is left in a queue.
fn drain(tc: &mut Tc, device: u32) -> io::Result<()> {
    /// Between two looks.
    const REST: Duration = Duration::from_millis(5);
    let until = Instant::now() + DRAIN;
    while tc.waiting(device)? > 0 && Instant::now() < until {
        thread::sleep(REST);
    }
    Ok(())
}

/// Whether somebody answers for it.
pub(crate) fn is_live(entry: &journal::Lane) -> bool {
    entry.owner().is_alive()
}

/// For people.
pub(crate) fn shown(entry: &journal::Lane) -> String {
    format!(
        "device {} in the network namespace {}, by process {}",
        entry.device, entry.netns, entry.owner_pid
    )
}
