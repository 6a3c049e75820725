//! What this node can do: mechanisms are probed by load, attach and self-test, never guessed from a
//! version or a configuration.

mod capability;
mod knob;
mod self_test;

pub(crate) use capability::privileged_for_bpf;
pub use capability::{Capability, missing_capabilities};
pub(crate) use self_test::PLAN as SELF_TEST_PLAN;

use crate::{
    engine::{EngineError, Hooks, Object, Plane},
    experiment::{FaultKind, Mechanism},
    fault, seccomp, sockets,
    target::CgroupTree,
    vdso,
};

/// Why a mechanism is not to be had here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// In one line, with what would help where that is known.
    pub reason: String,
    /// Capabilities that this process lacks; the mechanism was not probed then.
    pub capabilities: Vec<Capability>,
}

/// Whether this process may probe a mechanism at all.
///
/// # Errors
/// The capabilities that it lacks.
pub fn may_probe(mechanism: Mechanism) -> Result<(), Missing> {
    let capabilities = missing_capabilities(mechanism);
    if capabilities.is_empty() {
        return Ok(());
    }
    Err(Missing {
        reason: lacking(&capabilities),
        capabilities,
    })
}

/// Loads and attaches a mechanism and tries it out in a scratch cgroup, which is gone afterwards.
///
/// # Errors
/// Why it can't be had.
pub fn probe(plane: &mut Plane, object: Object, mechanism: Mechanism) -> Result<Hooks, Missing> {
    let refuse = |reason: String| Missing {
        reason,
        capabilities: Vec::new(),
    };
    let tree = CgroupTree::find().map_err(|error| refuse(error.to_string()))?;
    let mut hooks = Hooks::load(plane, object, mechanism)
        .map_err(|error| refuse(with_needs(object, explain(mechanism, &error))))?;
    self_test::run(plane, &mut hooks, object, mechanism, &tree).map_err(refuse)?;
    Ok(hooks)
}

/// Tries one rung of a kind's ladder out, for what exactly the kind is about, and leaves nothing of
/// it behind.
///
/// # Errors
/// Why it can't be had.
pub fn try_out(kind: &FaultKind, mechanism: Mechanism) -> Result<(), Missing> {
    let refuse = |reason: String| Missing {
        reason,
        capabilities: Vec::new(),
    };
    if mechanism == Mechanism::Vdso {
        may_probe(mechanism)?;
        CgroupTree::find().map_err(|error| refuse(error.to_string()))?;
        return vdso::probe().map_err(refuse);
    }
    if mechanism == Mechanism::SeccompNotify {
        return seccomp::probe().map_err(refuse);
    }
    if mechanism == Mechanism::SockDestroy {
        may_probe(mechanism)?;
        CgroupTree::find().map_err(|error| refuse(error.to_string()))?;
        return sockets::probe().map_err(refuse);
    }
    match fault::object(kind) {
        Some(object) => {
            may_probe(mechanism)?;
            fault::covers(kind, mechanism).map_err(refuse)?;
            let mut plane =
                Plane::create(1).map_err(|error| refuse(summary(&error.to_string())))?;
            let mut hooks = probe(&mut plane, object, mechanism)?;
            match fault::calls(kind) {
                Some(calls) => hooks
                    .prepare(&calls)
                    .map_err(|error| refuse(explain(mechanism, &error))),
                None => Ok(()),
            }
        }
        None => match fault::knob(kind) {
            Some(wanted) => knob::probe(&wanted.limit),
            None => Err(refuse("no program and no control file does it".to_owned())),
        },
    }
}

/// Why `kchaos run` can't do a kind from where this process is, although the mechanism works here.
pub(crate) fn not_for_commands(kind: &FaultKind) -> Option<String> {
    knob::not_for_commands(fault::controller(kind)?)
}

fn lacking(capabilities: &[Capability]) -> String {
    let names: Vec<&str> = capabilities
        .iter()
        .map(|capability| capability.name())
        .collect();
    format!("not probed: needs {}", names.join(" and "))
}

/// What stood in the way, and what would help.
pub(crate) fn explain(mechanism: Mechanism, error: &EngineError) -> String {
    let text = error.to_string();
    tracing::debug!(target: "verifier", %mechanism, "{text}");
    let locked = std::fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|modes| modes.contains("[confidentiality]"));
    if locked && matches!(error, EngineError::Refused { .. }) {
        return format!(
            "the kernel is locked down ([confidentiality] in /sys/kernel/security/lockdown), which \
             keeps BPF programs from reading kernel memory: {}",
            summary(&text)
        );
    }
    if mechanism != Mechanism::CgroupSkb && !has_btf() {
        return "this kernel has no BTF (/sys/kernel/btf/vmlinux): it needs CONFIG_DEBUG_INFO_BTF"
            .to_owned();
    }
    if text.contains("bpf_override_return") {
        return "this kernel lets no program return in a function's place: it needs \
                CONFIG_BPF_KPROBE_OVERRIDE"
            .to_owned();
    }
    let summary = summary(&text);
    if matches!(error, EngineError::Refused { .. })
        && text.contains("Operation not permitted")
        && privileged_for_bpf()
    {
        return format!(
            "{summary}: the kernel refuses such programs here even with the capabilities for them, \
             as the host of a container or a sandbox may have ordered"
        );
    }
    summary
}

/// The same with what an object needs of a kernel, where few are built like that.
fn with_needs(object: Object, reason: String) -> String {
    let (needs, others) = match object {
        Object::DiskError => ("a kernel with CONFIG_BLK_CGROUP", "file.error"),
        Object::MemSlab => ("Linux 6.10 or later with CONFIG_FAILSLAB", "mem.mmap"),
        Object::MemPage => (
            "Linux 6.10 or later with CONFIG_FAIL_PAGE_ALLOC",
            "mem.mmap",
        ),
        _ => return reason,
    };
    format!(
        "{reason}; it needs {needs} and CONFIG_FUNCTION_ERROR_INJECTION; {others} and syscall.error \
         do without"
    )
}

fn has_btf() -> bool {
    std::path::Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// A long message without the verifier's way through the program: how it starts, and the line in
/// which the verifier says what it refuses, the last one before its statistics.
fn summary(text: &str) -> String {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let verdict = lines
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.starts_with("processed "));
    match verdict {
        // The first line ends where the verifier begins to tell its way.
        Some(verdict) => {
            let first = first.split(": 0: R1").next().unwrap_or(first);
            format!("{} … {verdict}", shortened(first))
        }
        None => shortened(first),
    }
}

fn shortened(line: &str) -> String {
    const WIDTH: usize = 120;
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
