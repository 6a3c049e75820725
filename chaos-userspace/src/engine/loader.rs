//! Loads the programs of an object against the shared maps.
//!
//! aya's own loader makes a set of maps for each object, parses the kernel's BTF for each, and does
//! not know `fmod_ret`. aya-obj parses and relocates; the rest is a few system calls.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use aya::maps::MapData;
use aya_obj::{
    EbpfSectionKind, Function,
    btf::BtfFeatures,
    generated::{bpf_attach_type, bpf_prog_type},
};

use super::{
    EngineError, Object, chain,
    kernel::Kernel,
    maps::{Maps, NAME_PREFIX, failed},
    sys,
};
use crate::experiment::Mechanism;

/// Room for what the verifier says about a program that it refuses.
const LOG_BYTES: usize = 1 << 20;

/// The code of an object, relocated, with the maps that only it has.
#[derive(Debug)]
pub(super) struct Code {
    object: Object,
    mechanism: Mechanism,
    programs: HashMap<String, Function>,
    /// The types of the object, in the kernel.
    types: Option<OwnedFd>,
    own: HashMap<String, MapData>,
}

/// A loaded program.
#[derive(Debug)]
pub(super) struct Program(OwnedFd);

/// An attached program; detached when it is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Link {
    _fd: OwnedFd,
    /// What is attached, if it is attached nowhere else.
    program: Option<Program>,
}

impl Link {
    /// How often the kernel has not run the program, because a thread had been preempted in the middle
    /// of it on that processor (`prog->active`, kernel/bpf/trampoline.c). Of programs for security
    /// modules that is 0, as it runs them always; of one that hangs on cgroups it is not told.
    pub(super) fn missed(&self) -> u64 {
        let program = self.program.as_ref();
        program.map_or(0, |program| {
            number(program.0.as_fd(), "recursion_misses:").unwrap_or(0)
        })
    }
}

/// How a program is loaded and attached.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// To a hook of BPF LSM, by its name.
    Lsm(&'a str),
    /// To a kernel function, whose result it may replace before it runs.
    FmodRet(&'a str),
    /// To the beginning of a kernel function, in whose place it may return.
    Kprobe(&'a str),
    /// To cgroups, by [`Program::hang`]: what type of program, and how it is attached.
    Cgroup(bpf_prog_type, bpf_attach_type),
    /// To network devices, by [`Program::attach_to_device`].
    Device,
    /// To network devices, as a filter: see [`Program::fd`].
    Filter,
}

impl Code {
    /// Parses and relocates an object, and makes the maps that it does not share. `constants` are numbers
    /// that its programs have to know.
    pub(super) fn prepare(
        object: Object,
        mechanism: Mechanism,
        constants: &[(&str, u32)],
        maps: &Maps,
    ) -> Result<Self, EngineError> {
        let refused = |reason: String| EngineError::Refused {
            mechanism,
            program: object.name(),
            reason,
        };
        let mut elf = parsed(object, refused)?;
        if object.reads_kernel() {
            let kernel = Kernel::get()?;
            kernel.suffices(object)?;
            let offsets = &kernel.offsets;
            let bytes: Vec<[u8; 4]> = offsets
                .iter()
                .map(|(_, value)| value.to_ne_bytes())
                .collect();
            // No object has all of these.
            let globals = offsets
                .iter()
                .zip(&bytes)
                .map(|((name, _), bytes)| (*name, (&bytes[..], false)))
                .collect();
            elf.patch_map_data(globals)
                .map_err(|error| refused(chain(&error)))?;
        }
        for (name, value) in constants {
            // Nor these.
            let globals = [(*name, (&value.to_ne_bytes()[..], false))];
            elf.patch_map_data(globals.into())
                .map_err(|error| refused(chain(&error)))?;
        }
        let types = types(&mut elf).map_err(refused)?;
        let definitions: Vec<(String, aya_obj::Map)> = elf.maps.drain().collect();
        let mut own = HashMap::new();
        for (name, definition) in &definitions {
            if maps.shared(name, definition)?.is_none() {
                own.insert(name.clone(), make(object, name, definition)?);
            }
        }
        let mut known = Vec::new();
        for (name, definition) in &definitions {
            let fd = match (maps.shared(name, definition)?, own.get(name)) {
                (Some(shared), _) => shared.as_raw_fd(),
                (None, Some(own)) => own.fd().as_fd().as_raw_fd(),
                (None, None) => continue,
            };
            known.push((name.as_str(), fd, definition));
        }
        let text: HashSet<usize> = elf.functions.keys().map(|(section, _)| *section).collect();
        elf.relocate_maps(known.into_iter(), &text)
            .map_err(|error| refused(chain(&error)))?;
        elf.relocate_calls(&text)
            .map_err(|error| refused(chain(&error)))?;
        let programs = elf
            .programs
            .iter()
            .filter_map(|(name, program)| {
                let function = elf.functions.get(&program.function_key())?;
                Some((name.clone(), function.clone()))
            })
            .collect();
        Ok(Self {
            object,
            mechanism,
            programs,
            types,
            own,
        })
    }

    /// Hands out a map that only this object has. The programs keep it alive.
    pub(super) fn take_map(&mut self, name: &'static str) -> Result<MapData, EngineError> {
        self.own.remove(name).ok_or(EngineError::Map {
            map: name,
            reason: format!("not in the object {}", self.object.name()),
        })
    }

    /// Loads a program.
    pub(super) fn load(
        &self,
        name: &'static str,
        place: Place<'_>,
    ) -> Result<Program, EngineError> {
        let refused = |reason: String| EngineError::Refused {
            mechanism: self.mechanism,
            program: name,
            reason,
        };
        let code = self
            .programs
            .get(name)
            .ok_or_else(|| refused("not in the object".to_owned()))?;
        let function = |function: String| {
            Kernel::get()?
                .function(&function)
                .map(|function| function.id)
                .ok_or_else(|| refused(format!("this kernel has no function {function}")))
        };
        let (program, attach, function) = match place {
            Place::Lsm(hook) => (
                bpf_prog_type::BPF_PROG_TYPE_LSM,
                bpf_attach_type::BPF_LSM_MAC,
                function(format!("bpf_lsm_{hook}"))?,
            ),
            Place::FmodRet(name) => (
                bpf_prog_type::BPF_PROG_TYPE_TRACING,
                bpf_attach_type::BPF_MODIFY_RETURN,
                function(name.to_owned())?,
            ),
            Place::Kprobe(_) => (
                bpf_prog_type::BPF_PROG_TYPE_KPROBE,
                bpf_attach_type::BPF_TRACE_KPROBE_MULTI,
                0,
            ),
            Place::Cgroup(program, attach) => (program, attach, 0),
            Place::Device => (
                bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS,
                bpf_attach_type::BPF_TCX_EGRESS,
                0,
            ),
            // Such programs have had no type of attachment before tcx, and this is 0.
            Place::Filter => (
                bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS,
                bpf_attach_type::BPF_CGROUP_INET_INGRESS,
                0,
            ),
        };
        let kind = sys::Kind {
            program,
            attach,
            function,
        };
        let types = self.types.as_ref().map(OwnedFd::as_fd);
        let fd = load(code, types, &format!("{NAME_PREFIX}{name}"), kind).map_err(refused)?;
        tracing::debug!(
            name,
            instructions = code.instructions.len(),
            verified = number(fd.as_fd(), "verified_insns:"),
            "loaded"
        );
        Ok(Program(fd))
    }

    /// Loads a program and attaches it to the function that it is for.
    pub(super) fn attach(&self, name: &'static str, place: Place<'_>) -> Result<Link, EngineError> {
        let program = self.load(name, place)?;
        let link = match place {
            Place::Kprobe(function) => sys::attach_to_kprobe(program.0.as_fd(), function),
            _ => sys::attach_to_function(program.0.as_fd()),
        };
        let link = link.map_err(|error| EngineError::Refused {
            mechanism: self.mechanism,
            program: name,
            reason: format!("attach: {error}"),
        })?;
        Ok(Link {
            _fd: link,
            program: Some(program),
        })
    }
}

impl Program {
    /// For whoever hands it to the kernel by another way.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Attaches it to a network device of the namespace that this thread is in, in front of all others.
    pub(super) fn attach_to_device(
        &self,
        device: u32,
        attach: bpf_attach_type,
    ) -> io::Result<Link> {
        let link = sys::attach_to_device(self.0.as_fd(), device, attach)?;
        Ok(Link {
            _fd: link,
            program: None,
        })
    }

    /// Attaches it to a cgroup, with its subtree.
    pub(super) fn hang(&self, cgroup: BorrowedFd<'_>, attach: bpf_attach_type) -> io::Result<Link> {
        let link = sys::attach_to_cgroup(self.0.as_fd(), cgroup, attach)?;
        Ok(Link {
            _fd: link,
            program: None,
        })
    }
}

/// What is in an object. Taking it apart is most of what loading costs, and some programs are loaded once
/// for each network namespace, so it is done once.
fn parsed(
    object: Object,
    refused: impl Fn(String) -> EngineError,
) -> Result<aya_obj::Object, EngineError> {
    static PARSED: Mutex<BTreeMap<&str, aya_obj::Object>> = Mutex::new(BTreeMap::new());
    let mut known = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(parsed) = known.get(object.name()) {
        return Ok(parsed.clone());
    }
    let parsed = aya_obj::Object::parse(object.bytes()?).map_err(|error| refused(chain(&error)))?;
    known.insert(object.name(), parsed.clone());
    Ok(parsed)
}

fn make(object: Object, name: &str, definition: &aya_obj::Map) -> Result<MapData, EngineError> {
    let label = object.name();
    // Sections have dots and belong to an object; the kernel keeps 15 bytes.
    let data = MapData::create(definition.clone(), &format!("{NAME_PREFIX}{name}"), None)
        .map_err(|error| failed(label, &error))?;
    if definition.section_kind() == EbpfSectionKind::Rodata {
        sys::fill_and_freeze(data.fd().as_fd(), definition.data()).map_err(|source| {
            EngineError::Io {
                what: format!("write the constants of {label}"),
                source,
            }
        })?;
    }
    Ok(data)
}

/// What the kernel tells of a program in a line that begins so: `verified_insns:`, how many
/// instructions the verifier has followed, which it bounds (since Linux 5.16); `recursion_misses:`
/// (5.12).
fn number(program: BorrowedFd<'_>, line: &str) -> Option<u64> {
    let text =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()?;
    let rest = text.lines().find_map(|text| text.strip_prefix(line))?;
    rest.trim().parse().ok()
}

/// Hands the object's types to the kernel. All features are those of Linux 6.1, which nothing is
/// older than that the programs run on.
fn types(elf: &mut aya_obj::Object) -> Result<Option<OwnedFd>, String> {
    let features = BtfFeatures::new(true, true, true, true, true, true, true, true);
    let Some(btf) = elf
        .fixup_and_sanitize_btf(&features)
        .map_err(|error| chain(&error))?
    else {
        return Ok(None);
    };
    sys::load_types(&btf.to_bytes())
        .map(Some)
        .map_err(|error| format!("the object's types (BTF): {error}"))
}

fn load(
    code: &Function,
    types: Option<BorrowedFd<'_>>,
    name: &str,
    kind: sys::Kind,
) -> Result<OwnedFd, String> {
    let error = match sys::load(code, types, name, kind, &mut []) {
        Ok(loaded) => return Ok(loaded),
        Err(error) => error,
    };
    if error.kind() == io::ErrorKind::PermissionDenied && !crate::support::privileged_for_bpf() {
        return Err(error.to_string());
    }
    // Only a program that was refused is asked about again, with a log.
    let mut log = vec![0_u8; LOG_BYTES];
    match sys::load(code, types, name, kind, &mut log) {
        Ok(loaded) => Ok(loaded),
        Err(error) => {
            let text = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap_or(&[]))
                .trim()
                .to_owned();
            Err(if text.is_empty() {
                error.to_string()
            } else {
                format!("{error}: {text}")
            })
        }
    }
}
