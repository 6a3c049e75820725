//! One process, whose clocks are bent: its vDSO redirected, and back.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use super::{
    control::Control,
    home,
    image::{self, JUMP, Plan, Redirect, Trampoline},
    maps::Maps,
    stub::{self, Function, Header, LONGEST, PAGE, SLOTS_AT, Site},
    tracee::{TraceError, Tracee},
};

/// Why the clocks of a process are not bent.
#[derive(Debug, thiserror::Error)]
pub(super) enum PatchError {
    /// It has ended, or become another program.
    #[error("it has ended")]
    Gone,
    /// Perhaps the next time.
    #[error("{0}")]
    Later(String),
    /// Not on this machine, or not this process.
    #[error("{0}")]
    Never(String),
}

impl From<TraceError> for PatchError {
    fn from(error: TraceError) -> Self {
        match error {
            TraceError::Gone => Self::Gone,
            TraceError::Busy(_) => Self::Later(error.to_string()),
            TraceError::Traced(_) => Self::Later(format!(
                "{error}, and a process can have one tracer only: end that, or leave it out"
            )),
            TraceError::Refused { .. } => Self::Never(error.to_string()),
        }
    }
}

/// A process with our page of code in it.
#[derive(Debug)]
pub(super) struct Patched {
    /// Its memory; of what it was, when it has made an exec since.
    memory: File,
    /// Where its page of code lies.
    page: u64,
    /// Where it makes calls for us, in its vDSO.
    room: u64,
    /// Which control page it has.
    pub(super) family: u64,
    /// Which rules concern it.
    pub(super) slots: u64,
}

/// What there is to know of a process before it is touched.
#[derive(Debug)]
pub(super) struct Before {
    pid: u32,
    memory: File,
    maps: Maps,
    vdso: u64,
    /// Where it can make calls for us, at the end of its vDSO.
    room: u64,
    /// A tracer has died while it made one.
    interrupted: bool,
    plan: Arc<Plan>,
    /// What is in the page that its functions jump to, if it is one of ours.
    header: Option<(u64, Header)>,
}

/// What is about to be written where, and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) address: u64,
    pub(super) original: Vec<u8>,
}

impl Before {
    /// Looks at a process.
    pub(super) fn look(pid: u32) -> Result<Self, PatchError> {
        let gone = |_: io::Error| PatchError::Gone;
        let memory = OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EACCES | libc::EPERM) => PatchError::Never(format!(
                    "its memory can't be written ({error}): that takes CAP_SYS_PTRACE"
                )),
                _ => PatchError::Gone,
            })?;
        let time = |who: &str| fs::read_link(format!("/proc/{who}/ns/time")).ok();
        if time(&pid.to_string()) != time("self") {
            return Err(PatchError::Never(
                "it is in a time namespace of its own, whose clocks begin elsewhere".to_owned(),
            ));
        }
        let maps = Maps::of(pid).map_err(gone)?;
        let (start, end) = maps.vdso().ok_or_else(|| {
            if maps.is_empty() {
                PatchError::Gone
            } else {
                PatchError::Never("it has no vDSO: the kernel was started with vdso=0".to_owned())
            }
        })?;
        let mut image = vec![0; usize::try_from(end - start).unwrap_or(0)];
        memory.read_exact_at(&mut image, start).map_err(gone)?;
        if image.get(4) == Some(&1) {
            return Err(PatchError::Never("it is a 32-bit program".to_owned()));
        }
        let header = redirected(&memory, start, &image);
        for Bytes { address, original } in header.iter().flat_map(|(_, it)| it.bytes_replaced()) {
            let at = usize::try_from(address.wrapping_sub(start)).unwrap_or(usize::MAX);
            if let Some(bytes) = image.get_mut(at..at.saturating_add(original.len())) {
                bytes.copy_from_slice(&original);
            }
        }
        let mut interrupted = false;
        if let Some(room) = home::room(&mut image)
            && home::is_used(room)
        {
            interrupted = true;
            room.fill(0);
        }
        let plan = Plan::of(&image).map_err(PatchError::Never)?;
        Ok(Self {
            pid,
            memory,
            maps,
            vdso: start,
            room: end - home::ROOM as u64,
            interrupted,
            plan,
            header,
        })
    }

    /// The page of ours that its vDSO jumps to already: it is the child of one that was patched, or
    /// has it from another kchaos.
    pub(super) fn adopt(self) -> Result<(Patched, Header), Box<Self>> {
        let Some((page, header)) = self.header else {
            return Err(Box::new(self));
        };
        let patched = Patched {
            memory: self.memory,
            page,
            room: self.room,
            family: header.family,
            slots: header.slots,
        };
        Ok((patched, header))
    }

    /// Clears what is left of a call whose tracer has died; whether there was anything.
    pub(super) fn clear(&self) -> Result<bool, PatchError> {
        if self.interrupted {
            Tracee::stop(self.pid)?.clear(self.room)?;
        }
        Ok(self.interrupted)
    }

    /// Whether the program that was looked at is there yet.
    pub(super) fn is_there(&self) -> bool {
        matches!(self.memory.read_at(&mut [0], self.vdso), Ok(1))
    }

    /// What will be replaced.
    pub(super) fn bytes(&self) -> Vec<Bytes> {
        let bytes = |entry: &Redirect| Bytes {
            address: self.vdso + entry.at,
            original: entry.original[..JUMP].to_vec(),
        };
        self.plan.entries.iter().map(bytes).collect()
    }

    /// Redirects its functions; nothing is bent before its control page says so. Who is let go at any
    /// moment of this, because we have died, runs on as if nothing had been.
    pub(super) fn patch(
        self,
        tracee: &mut Tracee,
        owner: (u32, u64),
        family: u64,
        slots: u64,
    ) -> Result<(Patched, Control), PatchError> {
        if is_filtered(self.pid) && !tracee.lift_filters() {
            return Err(PatchError::Never(
                "it has a filter of system calls, which might kill it for the mmap that is needed, \
                 and to suspend that takes CAP_SYS_ADMIN"
                    .to_owned(),
            ));
        }
        let place = self
            .maps
            .gap(self.vdso, 2 * PAGE as u64)
            .ok_or_else(|| PatchError::Never("it has no room near its vDSO".to_owned()))?;
        let (trampolines, jumps) = self.relocate(place)?;
        let mut mapped = 0;
        let control = match self.map(tracee, place, &mut mapped) {
            Ok(control) => control,
            Err(error) => {
                // Not a byte more: what is behind it may be somebody else's by now.
                if mapped > 0 {
                    let ours = [place, mapped, 0, 0, 0, 0];
                    tracee.call(self.room, libc::SYS_munmap, ours).ok();
                }
                return Err(error);
            }
        };
        let mut header = Header::new(owner, family, self.sites());
        header.slots = slots;
        let codes: Vec<(Function, Vec<u8>)> = trampolines
            .iter()
            .map(|(function, it)| (*function, it.bytes.clone()))
            .collect();
        let page = stub::page(&header, &codes);
        self.write(tracee, place, &page)?;
        // There they run the same, whether there are jumps yet or not.
        for (_, trampoline) in &trampolines {
            tracee.move_threads(&trampoline.moved)?;
        }
        for (address, jump) in &jumps {
            if let Err(error) = tracee.write(*address, jump) {
                restore(tracee, &self.bytes())?;
                return Err(error.into());
            }
        }
        Ok((
            Patched {
                memory: self.memory,
                page: place,
                room: self.room,
                family,
                slots,
            },
            control,
        ))
    }

    fn sites(&self) -> [Site; Function::ALL.len()] {
        let mut sites = [Site::default(); Function::ALL.len()];
        for (site, bytes) in sites.iter_mut().zip(self.bytes()) {
            site.address = bytes.address;
            site.length = bytes.original.len() as u64;
            site.original[..bytes.original.len()].copy_from_slice(&bytes.original);
        }
        sites
    }

    #[expect(clippy::type_complexity, reason = "two lists that are used once")]
    fn relocate(
        &self,
        place: u64,
    ) -> Result<(Vec<(Function, Trampoline)>, Vec<(u64, [u8; JUMP])>), PatchError> {
        let mut trampolines = Vec::new();
        let mut jumps = Vec::new();
        for entry in &self.plan.entries {
            let at = place + entry.function.trampoline() as u64;
            let trampoline = entry.trampoline(self.vdso, at).map_err(PatchError::Never)?;
            let jump = entry
                .jump(self.vdso, place + entry.function.entry() as u64)
                .ok_or_else(|| PatchError::Never("it has no room near its vDSO".to_owned()))?;
            trampolines.push((entry.function, trampoline));
            jumps.push((self.vdso + entry.at, jump));
        }
        Ok((trampolines, jumps))
    }

    /// Has the process map a page of code, and behind it a page that it shares with its children and
    /// with us.
    fn map(
        &self,
        tracee: &mut Tracee,
        place: u64,
        mapped: &mut u64,
    ) -> Result<Control, PatchError> {
        // It was looked at while it ran.
        let taken = |error| match error {
            TraceError::Refused { source, .. } if source.raw_os_error() == Some(libc::EEXIST) => {
                PatchError::Later("it has mapped something else there meanwhile".to_owned())
            }
            other => other.into(),
        };
        let syscall = self.room;
        let fixed = u64::from((libc::MAP_FIXED_NOREPLACE).unsigned_abs());
        let flags = |flags: i32| u64::from(flags.unsigned_abs()) | fixed;
        let protection = |bits: i32| u64::from(bits.unsigned_abs());
        let page = PAGE as u64;
        let code = protection(libc::PROT_READ | libc::PROT_EXEC);
        let private = flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let none = u64::MAX;
        let at = tracee
            .call(
                syscall,
                libc::SYS_mmap,
                [place, page, code, private, none, 0],
            )
            .map_err(taken)?;
        if at == place {
            *mapped = page;
        } else {
            return Err(PatchError::Never(
                "this kernel takes no fixed place for a mapping".to_owned(),
            ));
        }
        // The name is empty: the padding of the ELF header is zero.
        let name = self.vdso + 9;
        let close_on_exec = u64::from(libc::MFD_CLOEXEC);
        let file = tracee.call(
            syscall,
            libc::SYS_memfd_create,
            [name, close_on_exec, 0, 0, 0, 0],
        )?;
        let control = (|| {
            tracee.call(syscall, libc::SYS_ftruncate, [file, page, 0, 0, 0, 0])?;
            let data = protection(libc::PROT_READ | libc::PROT_WRITE);
            let shared = flags(libc::MAP_SHARED);
            let at = [place + page, page, data, shared, file, 0];
            tracee.call(syscall, libc::SYS_mmap, at).map_err(taken)?;
            *mapped += page;
            let ours = OpenOptions::new()
                .read(true)
                .write(true)
                .open(format!("/proc/{}/fd/{file}", self.pid))
                .and_then(|file| Control::map(&file))
                .map_err(|error| {
                    PatchError::Never(format!("its page can't be shared with kchaos: {error}"))
                })?;
            Ok(ours)
        })();
        tracee.call(syscall, libc::SYS_close, [file, 0, 0, 0, 0, 0])?;
        control
    }

    fn write(&self, tracee: &Tracee, place: u64, page: &[u8]) -> Result<(), PatchError> {
        // In one go, where the kernel lets a tracer do so; by words elsewhere.
        match self.memory.write_all_at(page, place) {
            Ok(()) => Ok(()),
            Err(_) => Ok(tracee.write(place, page)?),
        }
    }
}

impl Patched {
    /// Whether the program that was patched is there yet.
    pub(super) fn is_there(&self) -> bool {
        let mut byte = [0];
        matches!(self.memory.read_at(&mut byte, self.page), Ok(1))
    }

    /// Says which rules concern this process, and not its parent and children.
    pub(super) fn choose(&mut self, pid: u32, slots: u64) -> Result<(), PatchError> {
        let at = self.page + SLOTS_AT as u64;
        // The page is private and not written by the process: some kernels let only a tracer do so.
        if self.memory.write_all_at(&slots.to_ne_bytes(), at).is_err() {
            Tracee::stop(pid)?.write(at, &slots.to_ne_bytes())?;
        }
        self.slots = slots;
        Ok(())
    }

    /// Puts the bytes of its vDSO back. Its page of code stays: a thread may be in it.
    pub(super) fn restore(&self, pid: u32) -> Result<(), PatchError> {
        let mut bytes = [0; size_of::<Header>()];
        let read = self.memory.read_exact_at(&mut bytes, self.page);
        let Some(header) = read.ok().and_then(|()| Header::read(&bytes)) else {
            return Err(PatchError::Gone);
        };
        let tracee = Tracee::stop(pid)?;
        // It may have made an exec before it stopped: then all of this is somewhere else.
        let now = tracee.read(self.page, size_of::<Header>());
        if now.ok().and_then(|bytes| Header::read(&bytes)) != Some(header) {
            return Err(PatchError::Gone);
        }
        let bytes = header.bytes_replaced();
        if restore(&tracee, &bytes)? {
            tracee.clear(self.room)?;
            Ok(())
        } else {
            Err(PatchError::Later("its bytes did not stay".to_owned()))
        }
    }
}

impl Header {
    /// What was there before.
    pub(super) fn bytes_replaced(&self) -> Vec<Bytes> {
        let bytes = |site: &Site| {
            let length = usize::try_from(site.length).unwrap_or(0).min(LONGEST);
            Bytes {
                address: site.address,
                original: site.original[..length].to_vec(),
            }
        };
        self.sites
            .iter()
            .map(bytes)
            .filter(|it| !it.original.is_empty())
            .collect()
    }
}

/// Where the functions of an image jump to, if that is a page of ours.
fn redirected(memory: &File, vdso: u64, image: &[u8]) -> Option<(u64, Header)> {
    image::entries(image)?.into_iter().find_map(|at| {
        let index = usize::try_from(at).ok()?;
        let jump = image.get(index..index + JUMP)?;
        let distance = i32::from_le_bytes(jump.strip_prefix(&[0xe9])?.try_into().ok()?);
        let behind = vdso + at + JUMP as u64;
        let page = behind.wrapping_add_signed(distance.into()) & !(PAGE as u64 - 1);
        let mut bytes = [0; size_of::<Header>()];
        memory.read_exact_at(&mut bytes, page).ok()?;
        Some((page, Header::read(&bytes)?))
    })
}

/// Puts bytes back. Whether they are there afterwards.
pub(super) fn restore(tracee: &Tracee, bytes: &[Bytes]) -> Result<bool, TraceError> {
    let mut same = true;
    for Bytes { address, original } in bytes {
        tracee.write(*address, original)?;
        same &= tracee.read(*address, original.len())? == *original;
    }
    Ok(same)
}

fn is_filtered(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Seccomp:"))
            .is_some_and(|mode| mode.trim() != "0")
    })
}
