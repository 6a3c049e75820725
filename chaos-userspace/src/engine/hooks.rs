//! The programs of one fault kind by one mechanism, loaded and attached.

use std::{collections::HashMap, fmt, os::fd::BorrowedFd};

use aya_obj::generated::{bpf_attach_type, bpf_prog_type};
use chaos_common::{ConnectOp, Hook};

use super::{
    Calls, EngineError, Object, Plane, RuleNumber, RulePlace, RuleSpec,
    calls::Attached,
    devices::Devices,
    hung::{Hanging, Hung},
    lanes::Lanes,
    loader::{Code, Link, Place},
};
use crate::{
    experiment::{Mechanism, Syscall},
    journal::Journal,
    target::Netns,
};

/// `net.loss`: packets on their way to a socket, and from one.
const NET_LOSS: [Hanging; 2] = [
    Hanging {
        name: "net_loss_in",
        program: bpf_prog_type::BPF_PROG_TYPE_CGROUP_SKB,
        attach: bpf_attach_type::BPF_CGROUP_INET_INGRESS,
        event: None,
        hook: Some(Hook::NetIngress),
    },
    Hanging {
        name: "net_loss_out",
        program: bpf_prog_type::BPF_PROG_TYPE_CGROUP_SKB,
        attach: bpf_attach_type::BPF_CGROUP_INET_EGRESS,
        event: None,
        hook: Some(Hook::NetEgressSkb),
    },
];
/// The same on their way out of a device.
const NET_LOSS_DEVICE: &str = "net_loss_device";

/// `dns.error`: answers that arrive.
const DNS_ERROR: &str = "dns_error";

/// `net.connect`: what a socket of either family is asked for.
const NET_CONNECT: [Hanging; 6] = {
    const fn of(name: &'static str, attach: bpf_attach_type, op: ConnectOp) -> Hanging {
        Hanging {
            name,
            program: bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
            attach,
            event: Some(op as u32),
            hook: None,
        }
    }
    use ConnectOp::{Bind, Connect, Sendmsg};
    [
        of(
            "connect4",
            bpf_attach_type::BPF_CGROUP_INET4_CONNECT,
            Connect,
        ),
        of(
            "connect6",
            bpf_attach_type::BPF_CGROUP_INET6_CONNECT,
            Connect,
        ),
        of(
            "sendmsg4",
            bpf_attach_type::BPF_CGROUP_UDP4_SENDMSG,
            Sendmsg,
        ),
        of(
            "sendmsg6",
            bpf_attach_type::BPF_CGROUP_UDP6_SENDMSG,
            Sendmsg,
        ),
        of("bind4", bpf_attach_type::BPF_CGROUP_INET4_BIND, Bind),
        of("bind6", bpf_attach_type::BPF_CGROUP_INET6_BIND, Bind),
    ]
};

/// What the kernel's own fault injection asks before it allocates (`mm/failslab.c` and
/// `mm/fail_page_alloc.c`).
const FAIL_SLAB: &str = "should_failslab";
const FAIL_PAGE: &str = "should_fail_alloc_page";
/// The same before a request goes to its disk (`block/blk-core.c`).
const FAIL_BIO: &str = "should_fail_bio";
/// What is asked before memory is set aside for a process.
const ENOUGH_MEMORY: &str = "security_vm_enough_memory_mm";

/// One fault kind by one mechanism, live in the kernel until it is dropped.
#[must_use]
pub struct Hooks {
    object: Object,
    mechanism: Mechanism,
    rules: HashMap<RuleNumber, Placed>,
    /// Hangs on the targets' cgroups.
    hung: Option<Hung>,
    /// On the devices of the targets' network namespaces.
    devices: Option<Devices>,
    /// Beside these devices.
    lanes: Option<Lanes>,
    /// Attached to the system calls, or for the events of files, that rules are about.
    calls: Option<Attached>,
    /// Attached once for the whole machine, whatever the rules are.
    machine: Option<Link>,
}

/// What a rule holds of the hooks.
#[derive(Debug)]
struct Placed {
    places: Vec<RulePlace>,
    /// Network namespaces that its target has for itself.
    namespaces: Vec<u32>,
    hooks: Vec<Hook>,
    calls: Calls,
    /// [`Hooks::missed_of`] its calls before it was there.
    missed_before: u64,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("object", &self.object)
            .field("mechanism", &self.mechanism)
            .field("rules", &self.rules.keys())
            .finish_non_exhaustive()
    }
}

impl Hooks {
    /// Gets the programs ready. What hangs on cgroups, or is for single calls and events, is attached
    /// when a rule needs it.
    ///
    /// # Errors
    /// Everything that is missing here for this mechanism.
    pub fn load(plane: &Plane, object: Object, mechanism: Mechanism) -> Result<Self, EngineError> {
        let hook = hook(object, mechanism);
        let mut code = Code::prepare(object, mechanism, &[("HOOK", hook as u32)], &plane.maps)?;
        let mut hung = None;
        let mut devices = None;
        let mut lanes = None;
        let mut calls = None;
        let mut machine = None;
        match (object, mechanism) {
            (Object::NetLoss, Mechanism::CgroupSkb) => {
                hung = Some(Hung::load(&mut code, mechanism, &NET_LOSS)?);
            }
            (Object::NetLoss, Mechanism::Tcx) => {
                hung = Some(Hung::load(&mut code, mechanism, &NET_LOSS[..1])?);
                devices = Some(Devices::leaving(object, mechanism, NET_LOSS_DEVICE));
            }
            (
                Object::SyscallError,
                Mechanism::FmodRetSyscall
                | Mechanism::KprobeOverride
                | Mechanism::Lsm
                | Mechanism::FmodRet,
            )
            | (Object::FileError, Mechanism::Lsm | Mechanism::FmodRet) => {
                calls = Some(Attached::none(code, object, mechanism));
            }
            (Object::MemMmap, Mechanism::FmodRet) => {
                machine = Some(code.attach("mem_mmap", Place::FmodRet(ENOUGH_MEMORY))?);
            }
            (Object::MemSlab, Mechanism::FmodRet) => {
                machine = Some(code.attach("mem_slab", Place::FmodRet(FAIL_SLAB))?);
            }
            (Object::MemSlab, Mechanism::KprobeOverride) => {
                machine = Some(code.attach("mem_slab_probe", Place::Kprobe(FAIL_SLAB))?);
            }
            (Object::MemPage, Mechanism::FmodRet) => {
                machine = Some(code.attach("mem_page", Place::FmodRet(FAIL_PAGE))?);
            }
            (Object::MemPage, Mechanism::KprobeOverride) => {
                machine = Some(code.attach("mem_page_probe", Place::Kprobe(FAIL_PAGE))?);
            }
            (Object::DiskError, Mechanism::FmodRet) => {
                machine = Some(code.attach("disk_error", Place::FmodRet(FAIL_BIO))?);
            }
            (Object::DiskError, Mechanism::KprobeOverride) => {
                machine = Some(code.attach("disk_error_probe", Place::Kprobe(FAIL_BIO))?);
            }
            (Object::NetLink, Mechanism::Ifb) => {
                lanes = Some(Lanes::new(object, mechanism));
            }
            (Object::NetConnect, Mechanism::CgroupSockAddr) => {
                hung = Some(Hung::load(&mut code, mechanism, &NET_CONNECT)?);
            }
            (Object::DnsError, Mechanism::Tcx) => {
                devices = Some(Devices::arriving(object, mechanism, DNS_ERROR));
            }
            _ => {
                return Err(EngineError::Refused {
                    mechanism,
                    program: object.name(),
                    reason: "there is no such mechanism for this kind".to_owned(),
                });
            }
        }
        Ok(Self {
            object,
            mechanism,
            rules: HashMap::new(),
            hung,
            devices,
            lanes,
            calls,
            machine,
        })
    }

    /// Attaches what rules about these system calls, or events of files, will need, until
    /// [`Self::drop_unused`].
    ///
    /// # Errors
    /// What this mechanism can't do of them here.
    pub fn prepare(&mut self, calls: &Calls) -> Result<(), EngineError> {
        match &mut self.calls {
            Some(attached) => attached.prepare(calls),
            None => Ok(()),
        }
    }

    /// Calls that rules about these will not see, because this mechanism can't here.
    pub fn missing(&self, calls: &Calls) -> Vec<Syscall> {
        let attached = self.calls.as_ref();
        attached.map_or_else(Vec::new, |attached| attached.missing(calls))
    }

    /// The first function that rules about these need and `others` are attached to as well.
    pub fn shared(&self, calls: &Calls, others: &Self) -> Option<String> {
        let (ours, theirs) = (self.calls.as_ref()?, others.calls.as_ref()?);
        ours.shared(calls, theirs)
    }

    /// Detaches what was prepared and no rule has come to need.
    pub fn drop_unused(&mut self) {
        if let Some(attached) = &mut self.calls {
            attached.drop_unused();
        }
    }

    /// The hook that these programs ask the rules of.
    pub const fn hook(&self) -> Hook {
        hook(self.object, self.mechanism)
    }

    /// Adds a rule of a plan that is not armed yet. Places that are cgroups come with their open
    /// directories.
    ///
    /// # Errors
    /// What the kernel refused; nothing of the rule is left then.
    pub fn add(
        &mut self,
        plane: &mut Plane,
        number: RuleNumber,
        places: &[(RulePlace, Option<BorrowedFd<'_>>)],
        mut rule: RuleSpec,
    ) -> Result<(), EngineError> {
        let hooks: Vec<Hook> = rule.hooks().collect();
        if let (Some(attached), Some(calls)) = (&mut self.calls, &mut rule.calls) {
            attached.enter(calls)?;
        }
        let calls = rule.calls.unwrap_or_default();
        let held = Placed {
            places: places.iter().map(|(place, _)| *place).collect(),
            namespaces: Vec::new(),
            hooks: hooks.clone(),
            missed_before: self.missed_of(&calls),
            calls,
        };
        self.rules.insert(number, held);
        let added = plane.write(number, rule).and_then(|()| {
            hooks
                .iter()
                .try_for_each(|hook| self.place(plane, number, places, *hook))
        });
        if added.is_err() {
            self.remove(plane, number);
        }
        added
    }

    fn place(
        &mut self,
        plane: &mut Plane,
        number: RuleNumber,
        places: &[(RulePlace, Option<BorrowedFd<'_>>)],
        hook: Hook,
    ) -> Result<(), EngineError> {
        for (place, cgroup) in places {
            if let (Some(hung), RulePlace::Cgroup { id, .. }, Some(cgroup)) =
                (&mut self.hung, place, cgroup)
            {
                hung.hang(*id, *cgroup, plane.calls(number), hook)?;
            }
            plane.place(number, *place, hook)?;
            self.hand_over(plane, *place, hook)?;
        }
        Ok(())
    }

    /// Has what the kernel does not undo by itself written down from now on.
    pub(crate) fn keep_journal(&mut self, journal: &Journal) {
        if let Some(lanes) = &mut self.lanes {
            lanes.keep_journal(journal);
        }
    }

    /// Whether rules need to know which network namespaces their targets are in, and told so again when
    /// that has changed: see [`Self::cover`].
    pub fn needs_namespaces(&self) -> bool {
        self.devices.is_some() || self.lanes.is_some()
    }

    /// Attaches to the devices of the network namespaces that the target of a rule is in.
    ///
    /// # Errors
    /// What the kernel refused; what was attached stays.
    pub fn cover(
        &mut self,
        plane: &mut Plane,
        number: RuleNumber,
        namespaces: &[Netns],
    ) -> Result<(), EngineError> {
        let Some(rule) = self.rules.get_mut(&number) else {
            return Ok(());
        };
        let hooks: Vec<Hook> = rule
            .hooks
            .iter()
            .copied()
            .filter(|hook| hook.is_of_devices())
            .collect();
        if hooks.is_empty() {
            return Ok(());
        }
        let own: Vec<u32> = namespaces
            .iter()
            .filter(|netns| netns.is_own())
            .map(Netns::id)
            .collect();
        for id in rule.namespaces.iter().filter(|id| !own.contains(id)) {
            for hook in &hooks {
                plane.displace(number, RulePlace::Netns(*id), *hook)?;
            }
        }
        rule.namespaces.retain(|id| own.contains(id));
        if let Some(devices) = &mut self.devices {
            devices.cover(plane, number, namespaces)?;
        }
        if let Some(lanes) = &mut self.lanes {
            lanes.cover(plane, number, namespaces, hooks.contains(&Hook::NetLinkIn))?;
        }
        for id in own {
            if !rule.namespaces.contains(&id) {
                for hook in &hooks {
                    plane.place(number, RulePlace::Netns(id), *hook)?;
                }
                rule.namespaces.push(id);
            }
        }
        match namespaces.iter().find(|netns| !netns.is_own()) {
            Some(shared) if hooks.contains(&Hook::NetLinkIn) => Err(EngineError::Shared(format!(
                "what arrives is only told apart by its network namespace, and it can't be ruled out that others \
                 are in that of the target ({}), too: name a target that has one for itself, or of net.link say direction=egress",
                shared.id()
            ))),
            _ => Ok(()),
        }
    }

    /// Tells the attachments of a cgroup its rules, for hooks that hang on cgroups.
    fn hand_over(&mut self, plane: &Plane, at: RulePlace, hook: Hook) -> Result<(), EngineError> {
        match (&mut self.hung, at) {
            (Some(hung), RulePlace::Cgroup { id, .. }) => {
                let rules = &self.rules;
                hung.hand_over(plane, id, at, hook, |number| rules.contains_key(&number))
            }
            _ => Ok(()),
        }
    }

    /// Removes a rule and everything that only it needed. Never fails: what the kernel does not
    /// give back goes when the hooks do.
    pub fn remove(&mut self, plane: &mut Plane, number: RuleNumber) {
        let Some(Placed {
            places,
            namespaces,
            hooks,
            calls,
            ..
        }) = self.rules.remove(&number)
        else {
            return;
        };
        if let Some(attached) = &mut self.calls {
            attached.leave(&calls);
        }
        let namespaces = namespaces.into_iter().map(RulePlace::Netns);
        for place in places.into_iter().chain(namespaces) {
            for hook in &hooks {
                let result = plane
                    .displace(number, place, *hook)
                    .and_then(|()| self.hand_over(plane, place, *hook));
                if let Err(error) = result {
                    tracing::warn!(number, %error, "rule could not be taken out of its place");
                }
            }
        }
        plane.erase(number);
        if let Some(devices) = &mut self.devices {
            devices.leave(number);
        }
        if let Some(lanes) = &mut self.lanes {
            lanes.leave(number);
        }
    }

    /// How often the kernel has run no program where it should have asked this rule, or another one
    /// that needs the same programs: a bound, as nobody can tell whose events these were.
    pub fn missed(&self, number: RuleNumber) -> u64 {
        self.rules.get(&number).map_or(0, |rule| {
            self.missed_of(&rule.calls)
                .saturating_sub(rule.missed_before)
        })
    }

    fn missed_of(&self, calls: &Calls) -> u64 {
        let attached = self.calls.as_ref().map(|attached| attached.missed(calls));
        let machine = self.machine.as_ref().map(Link::missed);
        attached.or(machine).unwrap_or(0)
    }

    /// Whether no rule needs these hooks.
    pub fn is_idle(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Where the programs of an object ask by a mechanism.
pub(crate) const fn hook(object: Object, mechanism: Mechanism) -> Hook {
    match (object, mechanism) {
        (Object::FileError, Mechanism::FmodRet) => Hook::FileOpenFmodRet,
        (Object::FileError, _) => Hook::FileOpenLsm,
        (Object::NetLoss, Mechanism::Tcx) => Hook::NetEgress,
        (Object::NetLoss, _) => Hook::NetIngress,
        (Object::SyscallError, Mechanism::KprobeOverride) => Hook::SyscallKprobe,
        (Object::SyscallError, Mechanism::Lsm) => Hook::SyscallSecurityLsm,
        (Object::SyscallError, Mechanism::FmodRet) => Hook::SyscallSecurityFmodRet,
        (Object::SyscallError, _) => Hook::SyscallFmodRet,
        (Object::MemSlab, Mechanism::KprobeOverride) => Hook::MemSlabKprobe,
        (Object::MemSlab, _) => Hook::MemSlab,
        (Object::MemPage, Mechanism::KprobeOverride) => Hook::MemPageKprobe,
        (Object::MemPage, _) => Hook::MemPage,
        (Object::MemMmap, _) => Hook::MemMmap,
        (Object::DiskError, Mechanism::KprobeOverride) => Hook::DiskErrorKprobe,
        (Object::DiskError, _) => Hook::DiskError,
        (Object::NetConnect, _) => Hook::NetConnect,
        (Object::NetLink, _) => Hook::NetLink,
        (Object::DnsError, _) => Hook::Dns,
    }
}
