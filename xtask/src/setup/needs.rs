//! The table of needs.

use std::{path::Path, process::Command};

use crate::{
    lab::{self, KERNELS, Kernel},
    process, project, toolchain,
};

/// bpf-linker must understand what the toolchain's LLVM writes.
pub(super) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
pub(super) const LLVM_FEATURE: &str = "llvm-22";

/// Something that tests inject faults into.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Victim {
    /// The program that shows whether it is there.
    pub(crate) program: &'static str,
    /// What tests do with it.
    pub(crate) why: &'static str,
    /// The package that has it.
    pub(crate) package: &'static str,
}

/// What `run` hits.
pub(crate) const WEB_SERVER: Victim = Victim {
    program: "nginx",
    why: "the HTTP server that `run` hits",
    package: "nginx-light",
};

/// What tests hit.
pub(crate) const VICTIMS: [Victim; 13] = [
    WEB_SERVER,
    Victim {
        program: "/usr/bin/ip",
        why: "makes the networks that tests hit",
        package: "iproute2",
    },
    Victim {
        program: "/usr/bin/iperf3",
        why: "traffic that tests hit",
        package: "iperf3",
    },
    Victim {
        program: "/usr/sbin/dnsmasq",
        why: "a DNS server that tests hit",
        package: "dnsmasq-base",
    },
    Victim {
        program: "/usr/bin/dig",
        why: "a client of DNS that tests hit",
        package: "bind9-dnsutils",
    },
    Victim {
        program: "/usr/bin/redis-server",
        why: "a database that tests hit",
        package: "redis-server",
    },
    Victim {
        program: "/usr/bin/sqlite3",
        why: "a database that tests hit",
        package: "sqlite3",
    },
    // Where Debian 12 has it.
    Victim {
        program: "/usr/lib/postgresql/15/bin/postgres",
        why: "a database that tests hit",
        package: "postgresql-15",
    },
    Victim {
        program: "/usr/bin/python3",
        why: "a runtime that tests hit",
        package: "python3",
    },
    Victim {
        program: "/usr/bin/node",
        why: "a runtime that tests hit",
        package: "nodejs",
    },
    Victim {
        program: "gcc",
        why: "compiles programs that tests hit",
        package: "gcc",
    },
    Victim {
        program: "go",
        why: "compiles programs that tests hit",
        package: "golang-go",
    },
    Victim {
        program: "/usr/bin/stress-ng",
        why: "a load of many kinds of calls that tests hit",
        package: "stress-ng",
    },
];

/// Something that a part of the project needs of the machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    /// A Rust toolchain with the sources of `core`.
    BpfToolchain,
    /// The linker of BPF objects.
    BpfLinker,
    /// The emulator of the kernel lab.
    Qemu,
    /// Programs that unpack kernels.
    Unpackers,
    /// What the lab's init is linked with.
    StaticLibc,
    /// What a kernel is built with.
    KernelTools,
    /// What makes a fresh machine.
    Debootstrap,
    /// What the bench compares with.
    Strace,
    /// A kernel in the cache.
    Kernel(&'static Kernel),
    /// A program that is hit by tests.
    Victim(&'static Victim),
}

impl Need {
    /// Everything.
    pub(crate) fn all() -> Vec<Self> {
        let mut needs = vec![
            Self::BpfToolchain,
            Self::BpfLinker,
            Self::Qemu,
            Self::Unpackers,
            Self::StaticLibc,
            Self::Strace,
        ];
        // The others only for those who name them.
        let fetched = KERNELS.iter().filter(|kernel| !kernel.is_built_here());
        needs.extend(fetched.map(Self::Kernel));
        needs.extend(VICTIMS.iter().map(Self::Victim));
        needs
    }

    /// What a boot of the lab needs.
    pub(crate) fn lab(kernel: &'static Kernel) -> Vec<Self> {
        let mut needs = vec![Self::Qemu, Self::Unpackers, Self::StaticLibc];
        needs.extend(Self::kernel(kernel));
        needs
    }

    /// The kernel, and what it takes to get it.
    pub(crate) fn kernel(kernel: &'static Kernel) -> Vec<Self> {
        let need = Self::Kernel(kernel);
        if kernel.is_built_here() && !need.is_met() {
            vec![Self::KernelTools, need]
        } else {
            vec![need]
        }
    }

    /// What people call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::BpfToolchain => "Rust with rust-src".to_owned(),
            Self::BpfLinker => format!("bpf-linker {}", toolchain::BPF_LINKER_VERSION),
            Self::Qemu => "QEMU".to_owned(),
            Self::Unpackers => "xz and zstd".to_owned(),
            Self::StaticLibc => "static libc".to_owned(),
            Self::KernelTools => "kernel build tools".to_owned(),
            Self::Debootstrap => "debootstrap".to_owned(),
            Self::Strace => "strace".to_owned(),
            Self::Kernel(kernel) => format!("kernel {}", kernel.name),
            Self::Victim(victim) => {
                let name = victim.program.rsplit('/').next();
                name.unwrap_or(victim.program).to_owned()
            }
        }
    }

    /// What it is needed for.
    pub(crate) fn why(&self) -> &'static str {
        match self {
            Self::BpfToolchain => "compiles the BPF programs",
            Self::BpfLinker => "links the BPF programs",
            Self::Qemu => "boots the kernel lab",
            Self::Unpackers => "unpack the lab's kernels and modules",
            Self::StaticLibc => "the init of the lab's guests is linked with it",
            Self::KernelTools => "build a kernel from its sources",
            Self::Debootstrap => "makes the fresh machine of `test --long`",
            Self::Strace => "the bench compares with its injected errors",
            Self::Kernel(_) => "a kernel of the lab",
            Self::Victim(victim) => victim.why,
        }
    }

    /// Whether it is there.
    pub(crate) fn is_met(&self) -> bool {
        match self {
            Self::BpfToolchain => toolchain::find().is_some(),
            Self::BpfLinker => toolchain::bpf_linker().is_some(),
            Self::Qemu => project::find_program(lab::QEMU).is_some(),
            Self::Unpackers => ["xz", "zstd"]
                .iter()
                .all(|name| project::find_program(name).is_some()),
            Self::StaticLibc => has_static_libc(),
            Self::KernelTools => has_kernel_tools(),
            Self::Debootstrap => project::find_program("debootstrap").is_some(),
            Self::Strace => project::find_program("strace").is_some(),
            Self::Kernel(kernel) => lab::is_present(kernel).unwrap_or(false),
            Self::Victim(victim) => project::find_program(victim.program).is_some(),
        }
    }

    /// Packages that it takes.
    pub(super) fn packages(&self) -> &'static [&'static str] {
        match self {
            Self::BpfToolchain => &["rustc-web", "cargo-web", "rust-web-src"],
            Self::BpfLinker => &["llvm-22-dev"],
            Self::Qemu => &["qemu-system-x86"],
            Self::Unpackers => &["xz-utils", "zstd"],
            Self::StaticLibc => &["libc6-dev"],
            Self::KernelTools => &[
                "bc",
                "binutils",
                "bison",
                "cpio",
                "dwarves",
                "flex",
                "gcc",
                "kmod",
                "libc6-dev",
                "libelf-dev",
                "libssl-dev",
                "make",
                "rsync",
                "tar",
                "xz-utils",
            ],
            Self::Debootstrap => &["debootstrap"],
            Self::Strace => &["strace"],
            Self::Kernel(_) => &[],
            Self::Victim(victim) => std::slice::from_ref(&victim.package),
        }
    }
}

/// The compiler answers with the bare name when it does not find the file.
fn has_static_libc() -> bool {
    process::output(Command::new("cc").arg("-print-file-name=libc.a"))
        .is_ok_and(|path| Path::new(path.trim()).is_absolute())
}

/// Programs, and the two libraries that the kernel's own tools are linked with.
fn has_kernel_tools() -> bool {
    let programs = [
        "bc", "bison", "cpio", "flex", "gcc", "kmod", "make", "objcopy", "pahole", "rsync", "tar",
        "xz",
    ];
    let libraries = ["libelf.so", "libcrypto.so"];
    programs
        .iter()
        .all(|name| project::find_program(name).is_some())
        && libraries.iter().all(|name| {
            process::output(Command::new("cc").arg(format!("-print-file-name={name}")))
                .is_ok_and(|path| Path::new(path.trim()).is_absolute())
        })
}
