//! What this process may do.

use crate::experiment::Mechanism;

/// A capability by its number (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Files of others, such as cgroups.
    DacOverride = 1,
    /// Packet programs.
    NetAdmin = 12,
    /// Other users' processes.
    /// Memory and registers of others.
    SysPtrace = 19,
    /// Holds `CAP_BPF` and `CAP_PERFMON`, and what was there before them.
    SysAdmin = 21,
    /// Programs that look into the kernel.
    Perfmon = 38,
    /// BPF programs and maps.
    Bpf = 39,
}

impl Capability {
    /// As capabilities(7) writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DacOverride => "CAP_DAC_OVERRIDE",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// What a mechanism needs and this process lacks.
pub fn missing_capabilities(mechanism: Mechanism) -> Vec<Capability> {
    let needed: &[Capability] = match mechanism {
        Mechanism::Lsm
        | Mechanism::FmodRet
        | Mechanism::FmodRetSyscall
        | Mechanism::KprobeOverride => &[Capability::Bpf, Capability::Perfmon],
        // Without CAP_PERFMON the verifier of 6.12 refuses a list that is walked by an index.
        Mechanism::CgroupSkb | Mechanism::CgroupSockAddr => {
            &[Capability::Bpf, Capability::Perfmon, Capability::NetAdmin]
        }
        // To find the namespaces of targets (proc(5), ns/net), and to enter them (setns(2)).
        Mechanism::Tcx | Mechanism::Ifb => &[
            Capability::Bpf,
            Capability::Perfmon,
            Capability::NetAdmin,
            Capability::SysPtrace,
            Capability::SysAdmin,
        ],
        Mechanism::SockDestroy => &[Capability::NetAdmin],
        // For a knob the permissions of its file decide; and everybody may set no_new_privs, which a
        // filter takes without CAP_SYS_ADMIN.
        Mechanism::CgroupKnob | Mechanism::SeccompNotify => &[],
        // As long as kernel.yama.ptrace_scope does not forbid it, own processes need none.
        Mechanism::Vdso => &[Capability::SysPtrace, Capability::DacOverride],
    };
    let have = effective();
    needed
        .iter()
        .copied()
        .filter(|capability| !holds(have, *capability))
        .collect()
}

/// Whether the kernel would look at a BPF program of this process at all.
pub(crate) fn privileged_for_bpf() -> bool {
    holds(effective(), Capability::Bpf)
}

fn holds(have: u64, capability: Capability) -> bool {
    let bit = |capability: Capability| have & (1 << capability as u32) != 0;
    // capable(CAP_BPF) and capable(CAP_PERFMON) also take CAP_SYS_ADMIN (bpf_capable, perfmon_capable).
    bit(capability)
        || (matches!(capability, Capability::Bpf | Capability::Perfmon)
            && bit(Capability::SysAdmin))
}

/// The effective set; empty when it can't be read.
fn effective() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .unwrap_or(0)
}
