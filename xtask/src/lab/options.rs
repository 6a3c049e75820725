//! The kernel options that faults, and the lab itself, need.

use super::kernels::Kernel;

/// What each kernel must have, built in or as a module.
const EVERYWHERE: [&str; 58] = [
    // The guest: its root, its ports, the machine.
    "9P_FS",
    "BLK_DEV_INITRD",
    "DEVTMPFS",
    "NET_9P_VIRTIO",
    "OVERLAY_FS",
    "PVH",
    "TMPFS",
    "VIRTIO_CONSOLE",
    "VIRTIO_PCI",
    // Programs, and what they hang on.
    "BPF_EVENTS",
    "BPF_JIT",
    "BPF_LSM",
    "BPF_SYSCALL",
    "CGROUP_BPF",
    "DEBUG_INFO_BTF",
    "DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
    "FTRACE_SYSCALLS",
    "KPROBES",
    "PERF_EVENTS",
    "SECURITYFS",
    "SECURITY_LOCKDOWN_LSM",
    "SECURITY_NETWORK",
    "SECURITY_PATH",
    "UPROBES",
    // Cgroups.
    "BLK_CGROUP",
    "BLK_DEV_THROTTLING",
    "CFS_BANDWIDTH",
    "CGROUP_FREEZER",
    "CGROUP_PIDS",
    "CPUSETS",
    "MEMCG",
    "PSI",
    // System calls.
    "AIO",
    "IA32_EMULATION",
    "IO_URING",
    "SECCOMP_FILTER",
    "TIME_NS",
    "USERFAULTFD",
    // Networks.
    "DUMMY",
    "IFB",
    "INET_DIAG",
    "INET_DIAG_DESTROY",
    "INET_UDP_DIAG",
    "NET_ACT_BPF",
    "NET_ACT_MIRRED",
    "NET_CLS_BPF",
    "NET_SCH_FQ",
    "NET_SCH_HTB",
    "NET_SCH_INGRESS",
    "NET_SCH_NETEM",
    "NET_SCH_TBF",
    "UNIX_DIAG",
    "VETH",
    // Disks.
    "BLK_DEV_DM",
    "BLK_DEV_LOOP",
    "BLK_DEV_NULL_BLK",
    "DM_FLAKEY",
    "EXT4_FS",
];

/// What a kernel that is built here must have on top; no stock kernel has all of it.
const BUILT_HERE: [&str; 8] = [
    "BPF_KPROBE_OVERRIDE",
    "FAIL_FUNCTION",
    "FAIL_MAKE_REQUEST",
    "FAIL_PAGE_ALLOC",
    "FAILSLAB",
    "FAULT_INJECTION",
    "FAULT_INJECTION_DEBUG_FS",
    "FUNCTION_ERROR_INJECTION",
];

/// The needed options that a configuration leaves off.
pub(crate) fn missing_from(kernel: &Kernel, config: &str) -> Vec<&'static str> {
    let built_here = BUILT_HERE.iter().filter(|_| kernel.is_built_here());
    EVERYWHERE
        .iter()
        .chain(built_here)
        .filter(|option| !is_on(config, option))
        .copied()
        .collect()
}

fn is_on(config: &str, option: &str) -> bool {
    config.lines().any(|line| {
        line.strip_prefix("CONFIG_")
            .and_then(|line| line.strip_prefix(option))
            .is_some_and(|value| matches!(value, "=y" | "=m"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::KERNELS;

    #[test]
    fn an_option_that_is_off_is_missing() {
        let config = "CONFIG_FAILSLAB=y\nCONFIG_VETH=m\nCONFIG_VETHER=y\n# CONFIG_IFB is not set\n";
        assert!(is_on(config, "FAILSLAB") && is_on(config, "VETH"));
        assert!(!is_on(config, "IFB") && !is_on(config, "VET"));
        for kernel in &KERNELS {
            let missing = missing_from(kernel, config);
            assert!(missing.contains(&"IFB") && !missing.contains(&"VETH"));
            assert_eq!(missing.contains(&"FAIL_FUNCTION"), kernel.is_built_here());
        }
    }
}
