//! `kchaos doctor`

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::client::CliError;
use crate::{
    engine::Object,
    experiment::{Fault, Mechanism, word},
    fault,
    state::StateDir,
    support::{self, Missing},
    target::CgroupTree,
};

/// Says what can be done on this machine
///
/// Loads, attaches and tries out each mechanism in a scratch cgroup, and leaves nothing behind.
/// Without the capabilities for that it guesses nothing. Exit status 3 if nothing works here, or if
/// faults are forbidden (`/run/kchaos/DISABLED`).
#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One kind by an example that shows it, and a command that it hits.
const EXAMPLES: [(&str, &str); 27] = [
    (
        "file.error:open=EIO,path=/etc/hostname",
        "cat /etc/hostname",
    ),
    // What is sent to open a connection is lost, so that the connection hangs.
    (
        "net.loss=100%",
        "timeout 3 bash -c ': </dev/tcp/127.0.0.1/9'",
    ),
    (
        "net.partition,peer=127.0.0.0/8",
        "timeout 3 bash -c ': </dev/tcp/127.0.0.1/9'",
    ),
    (
        "net.link,delay=1s",
        "timeout 3 bash -c ': </dev/tcp/127.0.0.1/9'",
    ),
    ("net.down", "timeout 3 bash -c ': </dev/tcp/127.0.0.1/9'"),
    ("pressure.cpu=25%", "timeout 3 sh -c 'while :; do :; done'"),
    (
        "syscall.delay:statx+newfstatat=5ms",
        "timeout 1 ls -l /usr/bin",
    ),
    ("syscall.error:mkdir=ENOSPC", "mkdir /tmp/kchaos"),
    // Not 0, which one of the mechanisms can't do.
    ("syscall.return:umask=63", "sh -c umask"),
    (
        "disk.limit=/,writeBps=1MiB",
        "dd if=/dev/zero of=/var/tmp/kchaos bs=64K count=64 oflag=direct",
    ),
    (
        "mem.slab=ENOMEM,cache=sock_inode_cache",
        "bash -c ': </dev/tcp/127.0.0.1/9'",
    ),
    ("mem.page=ENOMEM,when=10", "ls -R /etc"),
    (
        "mem.mmap=ENOMEM,minSize=1MiB",
        "dd if=/dev/zero of=/dev/null bs=16M count=1",
    ),
    ("disk.full=/tmp/", "mktemp"),
    ("disk.readonly=/tmp/", "mktemp"),
    (
        "disk.quota=/tmp/,bytes=1MiB",
        "dd if=/dev/zero of=/tmp/kchaos bs=64K count=64",
    ),
    (
        "file.delay:open=2ms,path=/etc/hostname",
        "cat /etc/hostname",
    ),
    (
        "disk.error:write=EIO,device=/var/tmp",
        "dd if=/dev/zero of=/var/tmp/kchaos bs=4K count=1 oflag=direct",
    ),
    (
        "net.connect:connect=ETIMEDOUT,peerPort=80",
        "bash -c 'exec 3<>/dev/tcp/127.0.0.1/80'",
    ),
    (
        "net.reset=100%,peerPort=80,pulse=100ms/1s",
        "curl -sS -o /dev/null -m 10 --limit-rate 1 http://127.0.0.1:80/",
    ),
    ("clock.offset:realtime=+1h", "date"),
    ("clock.speed:monotonic+boottime=0.5", "uptime"),
    ("clock.freeze:realtime", "date +%N"),
    ("clock.step:realtime=+10s,every=1m", "date"),
    (
        "dns.error:*.example.com=nxdomain",
        "getent hosts www.example.com",
    ),
    (
        "dns.answer:db.example.com=10.0.0.7",
        "getent hosts db.example.com",
    ),
    (
        "dns.delay:*.example.com=200ms",
        "getent hosts www.example.com",
    ),
];

struct Rung {
    mechanism: Mechanism,
    result: Result<(), Missing>,
}

pub(super) fn doctor(args: &DoctorArgs, out: &mut impl Write) -> Result<u8, CliError> {
    let mut kinds = Vec::new();
    let mut known = Known::new();
    for (example, command) in EXAMPLES {
        let fault = word::parse(example)
            .map_err(|violations| CliError::invalid("doctor's own example", &violations))?;
        let rungs = rungs(&fault, &mut known);
        kinds.push((fault, example, command, rungs));
    }
    let tree = CgroupTree::find();
    let disabled = StateDir::default().disabled();
    let works = kinds
        .iter()
        .any(|(.., rungs)| rungs.iter().any(|rung| rung.result.is_ok()));
    if args.json {
        let kinds: serde_json::Map<_, _> = kinds
            .iter()
            .map(|(fault, _, _, rungs)| (fault.kind.name().to_owned(), rungs_json(rungs)))
            .collect();
        let cgroup = match &tree {
            Ok(tree) => json!({"mount": tree.folder("/")}),
            Err(error) => json!({"missing": error.to_string()}),
        };
        writeln!(
            out,
            "{}",
            json!({
                "kernel": kernel(),
                "cgroup2": cgroup,
                "disabled": disabled,
                "faults": kinds,
            })
        )?;
        return Ok(if works && disabled.is_none() { 0 } else { 3 });
    }
    writeln!(
        out,
        "kchaos {} on Linux {}",
        env!("CARGO_PKG_VERSION"),
        kernel()
    )?;
    match &tree {
        Ok(tree) => writeln!(out, "cgroup v2: {}", tree.folder("").display())?,
        Err(error) => writeln!(out, "cgroup v2: no ({error})")?,
    }
    for (fault, _, _, rungs) in &kinds {
        writeln!(out, "\n{}", fault.kind.name())?;
        for rung in rungs {
            match &rung.result {
                Ok(()) => {
                    writeln!(out, "  {:<16} yes", rung.mechanism.name())?;
                    if let Some(reason) = support::not_for_commands(&fault.kind) {
                        writeln!(out, "  {:<16} but not by kchaos run here: {reason}", "")?;
                    }
                }
                Err(missing) if missing.capabilities.is_empty() => {
                    writeln!(
                        out,
                        "  {:<16} no: {}",
                        rung.mechanism.name(),
                        missing.reason
                    )?;
                }
                Err(missing) => {
                    writeln!(out, "  {:<16} {}", rung.mechanism.name(), missing.reason)?;
                }
            }
        }
    }
    writeln!(out)?;
    if let Some(file) = disabled {
        let file = file.display();
        writeln!(
            out,
            "Faults are forbidden here: {file} is there. To allow them:"
        )?;
        writeln!(out, "  rm {file}")?;
        return Ok(3);
    }
    closing(&kinds, out)?;
    Ok(if works { 0 } else { 3 })
}

fn closing(kinds: &[(Fault, &str, &str, Vec<Rung>)], out: &mut impl Write) -> Result<(), CliError> {
    let works = |rungs: &[Rung]| rungs.iter().any(|rung| rung.result.is_ok());
    let here: Vec<&str> = kinds
        .iter()
        .filter(|(.., rungs)| works(rungs))
        .map(|(fault, ..)| fault.kind.name())
        .collect();
    let unprobed = kinds.iter().flat_map(|(.., rungs)| rungs).any(|rung| {
        rung.result
            .as_ref()
            .is_err_and(|missing| !missing.capabilities.is_empty())
    });
    let shown = kinds
        .iter()
        .filter(|(.., rungs)| works(rungs))
        .find(|(fault, ..)| support::not_for_commands(&fault.kind).is_none());
    match shown {
        Some((_, example, command, _)) => {
            writeln!(out, "Works here now: {}. Try:", here.join(", "))?;
            writeln!(out, "  kchaos run --fault '{example}' -- {command}")?;
        }
        None if unprobed => {
            writeln!(
                out,
                "Nothing was probed. With the capabilities above, or as root, try:"
            )?;
            writeln!(out, "  sudo kchaos doctor")?;
        }
        None => writeln!(out, "Nothing works here now, for the reasons above.")?,
    }
    Ok(())
}

/// What is known of kinds that have the programs of an earlier one, and are tried out as it is: programs of
/// files and of packets, which take long to load.
type Known = Vec<((Object, Mechanism), Result<(), Missing>)>;

fn rungs(fault: &Fault, known: &mut Known) -> Vec<Rung> {
    let shared = fault::object(&fault.kind)
        .filter(|object| matches!(object, Object::FileError | Object::NetLoss));
    let mut try_out = |mechanism: Mechanism| {
        let Some(object) = shared else {
            return support::try_out(&fault.kind, mechanism);
        };
        let way = (object, mechanism);
        if let Some((_, result)) = known.iter().find(|(tried, _)| *tried == way) {
            return result.clone();
        }
        let result = support::try_out(&fault.kind, mechanism);
        known.push((way, result.clone()));
        result
    };
    fault::ladder(&fault.kind)
        .iter()
        .map(|mechanism| Rung {
            mechanism: *mechanism,
            result: try_out(*mechanism),
        })
        .collect()
}

fn rungs_json(rungs: &[Rung]) -> serde_json::Value {
    let rungs: Vec<_> = rungs
        .iter()
        .map(|rung| match &rung.result {
            Ok(()) => json!({"mechanism": rung.mechanism.name(), "supported": true}),
            Err(missing) if missing.capabilities.is_empty() => json!({
                "mechanism": rung.mechanism.name(),
                "supported": false,
                "reason": missing.reason,
            }),
            // Neither yes nor no.
            Err(missing) => json!({
                "mechanism": rung.mechanism.name(),
                "supported": null,
                "reason": missing.reason,
            }),
        })
        .collect();
    json!(rungs)
}

fn kernel() -> String {
    match nix::sys::utsname::uname() {
        Ok(name) => format!(
            "{} {}",
            name.release().to_string_lossy(),
            name.machine().to_string_lossy()
        ),
        Err(error) => format!("unknown ({error})"),
    }
}
