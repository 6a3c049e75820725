//! A real DNS server, and a real client of it.

use std::{
    fs,
    process::{Child, Stdio},
    time::Duration,
};

use crate::{cgroup::Cgroup, eventually, network::Link};

/// dnsmasq at the far end of a link.
#[derive(Debug)]
pub struct Server(Child);

/// What `dig` says of one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// `NOERROR`, `NXDOMAIN` and others; nothing when there was no answer.
    pub status: String,
    /// What each record says, one a line.
    pub says: String,
    /// What it found wrong with the message.
    pub warnings: String,
    /// Whether what comes now are its records.
    in_answer: bool,
}

impl Told {
    fn add(&mut self, line: &str) {
        if let Some((_, rest)) = line.split_once("status: ") {
            rest.split(',').next().unwrap().clone_into(&mut self.status);
        } else if line.starts_with(";; ANSWER SECTION") {
            self.in_answer = true;
        } else if line.is_empty() {
            self.in_answer = false;
        } else if self.in_answer {
            self.says += line.split_whitespace().last().unwrap();
        } else if line.contains("WARNING") || line.contains("malformed") {
            self.warnings += line;
        }
    }

    /// An address, and nothing odd about it.
    pub fn is(&self, address: &str) -> bool {
        self.status == "NOERROR" && self.says == address && self.warnings.is_empty()
    }
}

impl Server {
    /// What it knows: `www.example.com`, `db.example.com` and `a.b.example.com` have one address of each family,
    /// `example.com` has no address.
    pub const V4: &str = "10.77.1.1";
    /// The other one.
    pub const V6: &str = "fd77:1::1";

    /// Starts it, with real checksums on the link.
    pub fn start(link: &Link) -> Self {
        link.without_offload();
        let mut dnsmasq = link.far("/usr/sbin/dnsmasq");
        dnsmasq.args([
            "-k",
            "-C",
            "/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--pid-file",
        ]);
        dnsmasq.args([
            "--local=/example.com/",
            "--mx-host=example.com,mail.example.com",
        ]);
        for name in [
            "www.example.com",
            "db.example.com",
            "a.b.example.com",
            "other.test",
        ] {
            dnsmasq.arg(format!("--host-record={name},{},{}", Self::V4, Self::V6));
        }
        let child = dnsmasq.stderr(Stdio::null()).spawn().unwrap();
        eventually("dnsmasq listens", Duration::from_secs(20), || {
            let mut list = link.far("ss");
            let said = list.args(["-Hltun", "sport = :53"]).output().unwrap();
            String::from_utf8_lossy(&said.stdout).lines().count() >= 4
        });
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Asks the server with one `dig`: each question is what stands on its command line, such as `www.example.com AAAA
/// +tcp`, and is asked once; by IPv6 with `-6` in front.
pub fn ask<const N: usize>(link: &Link, cgroup: &Cgroup, questions: [&str; N]) -> [Told; N] {
    let mut dig = link.near(cgroup, "dig");
    // In front of all questions, where they are about each of them.
    dig.args(["+tries=1", "+time=2", "+nocookie"]);
    for question in questions {
        let (server, question) = match question.strip_prefix("-6 ") {
            Some(question) => (Link::FAR6, question),
            None => (Link::FAR[0], question),
        };
        dig.arg(format!("@{server}"))
            .args(question.split_whitespace());
    }
    let said = dig.output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    let mut told: Vec<Told> = Vec::new();
    for line in text.lines() {
        if matches!(line, ";; Got answer:" | ";; no servers could be reached") {
            told.push(Told::default());
        } else if let Some(question) = told.last_mut() {
            question.add(line);
        }
    }
    told.try_into()
        .unwrap_or_else(|_| panic!("{questions:?}: {text}"))
}

/// What the C library finds of a name: the exit status of `getent`, which asks the server alone.
pub fn getent(link: &Link, cgroup: &Cgroup, name: &str) -> i32 {
    let folder = tempfile::tempdir().unwrap();
    let [resolv, nsswitch] = ["resolv.conf", "nsswitch.conf"].map(|file| folder.path().join(file));
    let server = Link::FAR[0];
    fs::write(
        &resolv,
        format!("nameserver {server}\noptions timeout:1 attempts:1\n"),
    )
    .unwrap();
    fs::write(&nsswitch, "hosts: dns\n").unwrap();
    let script = format!(
        "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/nsswitch.conf && exec getent ahostsv4 {name}",
        resolv.display(),
        nsswitch.display()
    );
    let mut command = link.near(cgroup, "unshare");
    command.args(["-m", "sh", "-c", &script]);
    command
        .stdout(Stdio::null())
        .status()
        .unwrap()
        .code()
        .unwrap()
}
