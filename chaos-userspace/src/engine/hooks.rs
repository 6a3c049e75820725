//! A loaded object with its attachments: what makes the rules of one fault kind, by one mechanism,
//! have an effect.

use std::{
    collections::HashMap,
    fmt,
    os::fd::{AsFd as _, BorrowedFd},
};

#[expect(deprecated, reason = "see INGRESS_RULES in chaos-ebpf")]
use aya::maps::{CgroupStorage, cgroup_storage::CgroupStorageKey};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Map, MapData, MapError},
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, Lsm, ProgramError,
        cgroup_skb::CgroupSkbLink,
    },
};
use chaos_common::{Hook, RuleList};

use super::{
    EngineError, Object, RuleNumber, RulePlace, RuleSpec, chain,
    fmod_ret::{self, FmodRet},
    layout,
    plane::{Plane, map},
};
use crate::{experiment::Mechanism, node::Counters};

/// A program that is attached once for the whole machine: its name, and what it is attached to.
type Global = (&'static str, &'static str);

const FILE_ERROR_LSM: [Global; 2] = [
    ("file_open_lsm", "file_open"),
    ("file_make_lsm", "path_mknod"),
];
const FILE_ERROR_FMOD: [Global; 2] = [
    ("file_open_fmod", "security_file_open"),
    ("file_make_fmod", "security_path_mknod"),
];
const NET_LOSS_IN: &str = "net_loss_in";

#[expect(deprecated, reason = "see INGRESS_RULES in chaos-ebpf")]
type IngressRules = CgroupStorage<MapData, RuleList>;

/// One fault kind by one mechanism, live in the kernel until it is dropped.
#[must_use]
pub struct Hooks {
    object: Object,
    mechanism: Mechanism,
    plane: Plane,
    rules: HashMap<RuleNumber, (RulePlace, RuleSpec)>,
    /// Programs, and through them the links that aya made.
    ebpf: Ebpf,
    fmod_ret: Vec<FmodRet>,
    /// Cgroups that `net_loss_in` hangs on, by id.
    cgroups: HashMap<u64, CgroupSkbLink>,
    ingress: Option<IngressRules>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("object", &self.object)
            .field("mechanism", &self.mechanism)
            .field("rules", &self.rules.keys())
            .field("fmod_ret", &self.fmod_ret)
            .finish_non_exhaustive()
    }
}

impl Hooks {
    /// Loads the programs and attaches what is attached once for the whole machine. Without rules
    /// they let everything pass.
    ///
    /// # Errors
    /// Everything that is missing here for this mechanism.
    pub fn load(object: Object, mechanism: Mechanism) -> Result<Self, EngineError> {
        let bytes = object.bytes()?;
        let mut loader = EbpfLoader::new();
        let offsets: &[_] = if object == Object::FileError {
            layout::offsets()?
        } else {
            &[]
        };
        for (global, value) in offsets {
            loader.override_global(global, value, false);
        }
        let mut ebpf = loader.load(bytes).map_err(|error| EngineError::Refused {
            mechanism,
            program: object.name(),
            reason: chain(&error),
        })?;
        let mut fmod_ret = Vec::new();
        let mut ingress = None;
        match (object, mechanism) {
            (Object::FileError, Mechanism::Lsm) => {
                let btf = kernel_btf()?;
                for (program, hook) in FILE_ERROR_LSM {
                    attach_lsm(&mut ebpf, program, hook, &btf)?;
                }
            }
            (Object::FileError, Mechanism::FmodRet) => {
                let btf = kernel_btf()?;
                let maps = ebpf
                    .maps()
                    .filter_map(|(name, map)| Some((name.to_owned(), fd(map)?)))
                    .collect();
                for (program, function) in FILE_ERROR_FMOD {
                    fmod_ret.push(fmod_ret::attach(bytes, &maps, &btf, program, function)?);
                }
            }
            (Object::NetLoss, Mechanism::CgroupSkb) => {
                cgroup_skb(&mut ebpf)?
                    .load()
                    .map_err(|error| refused(mechanism, NET_LOSS_IN, &error))?;
                ingress = Some(take_ingress(&mut ebpf)?);
            }
            _ => {
                return Err(EngineError::Refused {
                    mechanism,
                    program: object.name(),
                    reason: "there is no such mechanism for this kind".to_owned(),
                });
            }
        }
        let plane = Plane::take(&mut ebpf)?;
        Ok(Self {
            object,
            mechanism,
            plane,
            rules: HashMap::new(),
            ebpf,
            fmod_ret,
            cgroups: HashMap::new(),
            ingress,
        })
    }

    /// Adds a rule of a plan that is not armed yet. `cgroup` is the open directory of a cgroup
    /// place.
    ///
    /// # Errors
    /// What the kernel refused; nothing of the rule is left then.
    pub fn add(
        &mut self,
        number: RuleNumber,
        place: RulePlace,
        cgroup: Option<BorrowedFd<'_>>,
        rule: RuleSpec,
    ) -> Result<(), EngineError> {
        let added = self.try_add(number, place, cgroup, &rule);
        self.rules.insert(number, (place, rule));
        if added.is_err() {
            self.remove(number);
        }
        added
    }

    fn try_add(
        &mut self,
        number: RuleNumber,
        place: RulePlace,
        cgroup: Option<BorrowedFd<'_>>,
        rule: &RuleSpec,
    ) -> Result<(), EngineError> {
        self.plane.write(number, rule)?;
        if let (Hook::NetIngress, RulePlace::Cgroup { id, .. }, Some(cgroup)) =
            (rule.hook, place, cgroup)
        {
            self.hang(id, cgroup)?;
        }
        self.plane.place(number, place, rule)?;
        self.hand_over(place, rule.hook)
    }

    /// Attaches the packet program to a cgroup, once.
    fn hang(&mut self, id: u64, cgroup: BorrowedFd<'_>) -> Result<(), EngineError> {
        if self.cgroups.contains_key(&id) {
            return Ok(());
        }
        let mechanism = self.mechanism;
        let program = cgroup_skb(&mut self.ebpf)?;
        let link = program
            // A link allows other programs beside it anyway, and takes no flag that says so.
            .attach(
                cgroup,
                CgroupSkbAttachType::Ingress,
                CgroupAttachMode::Single,
            )
            .and_then(|link| program.take_link(link))
            .map_err(|error| refused(mechanism, NET_LOSS_IN, &error))?;
        self.cgroups.insert(id, link);
        Ok(())
    }

    /// Writes the rules of a cgroup into its attachment, for hooks that hang on cgroups.
    fn hand_over(&mut self, place: RulePlace, hook: Hook) -> Result<(), EngineError> {
        let (Hook::NetIngress, RulePlace::Cgroup { id, .. }) = (hook, place) else {
            return Ok(());
        };
        let list = self.plane.list(place, hook);
        if list.len == 0 {
            self.cgroups.remove(&id);
            return Ok(());
        }
        let Some(ingress) = &mut self.ingress else {
            return Ok(());
        };
        let key = CgroupStorageKey::new(id, CgroupSkbAttachType::Ingress as u32);
        ingress
            .insert(key, list, 0)
            .map_err(|error| map("INGRESS_RULES", &error))
    }

    /// Removes a rule and everything that only it needed. Never fails: what the kernel does not
    /// give back goes when the hooks do.
    pub fn remove(&mut self, number: RuleNumber) {
        let Some((place, rule)) = self.rules.remove(&number) else {
            return;
        };
        let result = self
            .plane
            .displace(number, place, &rule)
            .and_then(|()| self.hand_over(place, rule.hook));
        if let Err(error) = result {
            tracing::warn!(number, %error, "rule could not be taken out of its place");
        }
        self.plane.erase(number);
    }

    /// From the next event on, the rules of this plan inject, or no longer do.
    ///
    /// # Errors
    /// A map write failed.
    pub fn arm(&mut self, plan: u32, armed: bool) -> Result<(), EngineError> {
        self.plane.arm(plan, armed)
    }

    /// What the kernel counted for a rule.
    ///
    /// # Errors
    /// A map read failed.
    pub fn counters(&self, number: RuleNumber) -> Result<Counters, EngineError> {
        self.plane.counters(number)
    }

    /// Whether no rule needs these hooks.
    pub fn is_idle(&self) -> bool {
        self.rules.is_empty()
    }
}

fn kernel_btf() -> Result<Btf, EngineError> {
    Btf::from_sys_fs().map_err(|error| EngineError::Btf(chain(&error)))
}

fn attach_lsm(
    ebpf: &mut Ebpf,
    program: &'static str,
    hook: &str,
    btf: &Btf,
) -> Result<(), EngineError> {
    let refused = |error: &ProgramError| refused(Mechanism::Lsm, program, error);
    let found = ebpf
        .program_mut(program)
        .ok_or_else(|| missing(Mechanism::Lsm, program))?;
    let lsm: &mut Lsm = found.try_into().map_err(|error| refused(&error))?;
    lsm.load(hook, btf).map_err(|error| refused(&error))?;
    if let Ok(info) = lsm.info() {
        tracing::debug!(program, verified = ?info.verified_instruction_count(), size = ?info.size_translated(), "loaded");
    }
    // The program keeps its link.
    let _id = lsm.attach().map_err(|error| refused(&error))?;
    Ok(())
}

fn cgroup_skb(ebpf: &mut Ebpf) -> Result<&mut CgroupSkb, EngineError> {
    let mechanism = Mechanism::CgroupSkb;
    ebpf.program_mut(NET_LOSS_IN)
        .ok_or_else(|| missing(mechanism, NET_LOSS_IN))?
        .try_into()
        .map_err(|error| refused(mechanism, NET_LOSS_IN, &error))
}

fn take_ingress(ebpf: &mut Ebpf) -> Result<IngressRules, EngineError> {
    let name = "INGRESS_RULES";
    let found = ebpf.take_map(name).ok_or(EngineError::Map {
        map: name,
        reason: "not in the object".to_owned(),
    })?;
    IngressRules::try_from(found).map_err(|error: MapError| map(name, &error))
}

fn missing(mechanism: Mechanism, program: &'static str) -> EngineError {
    EngineError::Refused {
        mechanism,
        program,
        reason: "not in the object".to_owned(),
    }
}

fn refused(mechanism: Mechanism, program: &'static str, error: &ProgramError) -> EngineError {
    EngineError::Refused {
        mechanism,
        program,
        reason: chain(error),
    }
}

/// The descriptor of a map of one of the types that the objects use.
fn fd(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::CgroupStorage(data) => Some(data.fd().as_fd()),
        _ => None,
    }
}
