//! KVM or emulation: decided by booting something, never by whether `/dev/kvm` exists, because
//! there are hosts where it does and yet a stock kernel spins for ever.

use std::{fs, process::Command, time::Duration};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{End, Lab, kernels::Spec, qemu};
use crate::{cache, process};

/// How long a kernel with KVM may take until init reports. It takes one or two seconds.
const PATIENCE: Duration = Duration::from_secs(12);

/// What executes the guest's code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Accel {
    /// The host's processor.
    Kvm,
    /// QEMU's translator, with a thread for each processor.
    Tcg,
    /// The same with one thread for all of them in turn: slower, but no processor can still be
    /// running what another one has just overwritten.
    TcgInTurn,
}

impl Accel {
    /// QEMU's arguments for it.
    pub(crate) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // Without -cx16 Linux 6.12 double-faults after a cmpxchg16b under QEMU 7.2.
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max,-cx16"],
            Self::TcgInTurn => ["-accel", "tcg,thread=single", "-cpu", "max,-cx16"],
        }
    }
}

#[derive(Deserialize, Serialize)]
struct Verdict {
    /// Kernel and QEMU that the verdict was found with.
    host: String,
    works: bool,
}

/// The accelerator for this host; the verdict on KVM is kept until host kernel or QEMU change.
pub(crate) fn choose(spec: &Spec) -> Result<Accel> {
    let usable = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    if !usable {
        return Ok(Accel::Tcg);
    }
    let path = cache::dir()?.join("kvm.json");
    let host = format!(
        "{} / {}",
        fs::read_to_string("/proc/version")?.trim(),
        process::output(Command::new(qemu::PROGRAM).arg("--version"))?
            .lines()
            .next()
            .unwrap_or("")
    );
    let known = fs::read_to_string(&path)
        .ok()
        .and_then(|text| serde_json::from_str::<Verdict>(&text).ok())
        .filter(|verdict| verdict.host == host);
    let works = if let Some(verdict) = known {
        verdict.works
    } else {
        eprintln!("xtask: trying whether KVM boots a kernel here (once, {PATIENCE:.0?} at most)");
        let works = probe(spec)?;
        eprintln!(
            "xtask: {}",
            if works {
                "it does"
            } else {
                "it does not: emulating"
            }
        );
        cache::write_atomically(&path, &serde_json::to_vec(&Verdict { host, works })?)?;
        works
    };
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

fn probe(spec: &Spec) -> Result<bool> {
    let mut lab = Lab::new(spec.clone());
    lab.accel = Some(Accel::Kvm);
    lab.boot_patience = PATIENCE;
    lab.timeout = PATIENCE;
    let outcome = lab.run(&["/bin/true".into()])?;
    Ok(matches!(outcome.end, End::Exited(0)))
}
