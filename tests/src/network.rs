//! Networks of the tests' own: namespaces with a link between them.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::cgroup::Cgroup;

/// Two namespaces, near and far, with a veth pair between them; removed with everything in them.
#[derive(Debug)]
pub struct Link {
    near: String,
    far: String,
}

impl Link {
    /// Addresses of the far end.
    pub const FAR: [&str; 2] = ["10.77.0.2", "10.77.0.3"];
    /// Its address of IPv6.
    pub const FAR6: &str = "fd77::2";
    /// That of the near end.
    pub const NEAR: &str = "10.77.0.1";

    /// Makes them.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("kt-{}-{number}-{end}", std::process::id());
        let link = Self {
            near: name("near"),
            far: name("far"),
        };
        let Self { near, far } = &link;
        for netns in [near, far] {
            ip(&["netns", "add", netns]);
            ip(&["-n", netns, "link", "set", "lo", "up"]);
        }
        ip(&[
            "link", "add", "eth0", "netns", near, "type", "veth", "peer", "name", "eth0", "netns",
            far,
        ]);
        let far_addresses = Self::FAR.map(|address| format!("{address}/24"));
        let v6 = [format!("{}/64", Self::FAR6), "fd77::1/64".to_owned()];
        for (netns, address) in [
            (near, format!("{}/24", Self::NEAR)),
            (far, far_addresses[0].clone()),
            (far, far_addresses[1].clone()),
        ] {
            ip(&["-n", netns, "addr", "add", &address, "dev", "eth0"]);
        }
        for (netns, address) in [(far, &v6[0]), (near, &v6[1])] {
            ip(&["-n", netns, "addr", "add", address, "dev", "eth0", "nodad"]);
        }
        for netns in [near, far] {
            ip(&["-n", netns, "link", "set", "eth0", "up"]);
        }
        link
    }

    /// A program at the near end, in a cgroup.
    pub fn near(&self, cgroup: &Cgroup, program: &str) -> Command {
        let mut command = cgroup.command("nsenter");
        command.args([&format!("--net=/run/netns/{}", self.near), program]);
        command
    }

    /// A process of a cgroup that is at the near end and does nothing, so that this end is the target's from
    /// the beginning: a namespace that it enters later is found within a second.
    pub fn settle(&self, cgroup: &Cgroup) -> Script {
        Script::ready(self.near(cgroup, "python3"), "print('ready'); input()")
    }

    /// A program at the far end.
    pub fn far(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([&format!("--net=/run/netns/{}", self.far), program]);
        command
    }

    /// Has both ends make the checksums of what they send, as for a network card that does not.
    pub fn without_offload(&self) {
        const SCRIPT: &str = "
import array, fcntl, socket, struct
# ETHTOOL_STXCSUM, off, by SIOCETHTOOL.
value = array.array('B', struct.pack('II', 0x17, 0))
request = struct.pack('16sQ16x', b'eth0', value.buffer_info()[0])
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8946, request)
";
        for netns in [&self.near, &self.far] {
            let mut python = Command::new("nsenter");
            python.args([
                &format!("--net=/run/netns/{netns}"),
                "python3",
                "-c",
                SCRIPT,
            ]);
            assert!(python.status().unwrap().success());
        }
    }

    /// Has TCP at the near end hand over segments, and nothing that becomes several of them later.
    pub fn without_segments(&self) {
        ip(&["-n", &self.near, "link", "set", "eth0", "gso_max_segs", "1"]);
    }

    /// `tc` at the near end.
    pub fn near_tc(&self) -> Command {
        let mut tc = Command::new("tc");
        tc.args(["-n", &self.near]);
        tc
    }

    /// What `tc` and `ip` say of the near end, for a comparison.
    pub fn listing(&self) -> String {
        let mut text = String::new();
        for (program, arguments) in [
            ("tc", &["qdisc", "show"][..]),
            ("tc", &["filter", "show", "dev", "eth0", "egress"]),
            ("tc", &["filter", "show", "dev", "eth0", "ingress"]),
            ("ip", &["addr"]),
            ("ip", &["rule"]),
        ] {
            let out = Command::new(program)
                .args(["-n", &self.near])
                .args(arguments)
                .output()
                .unwrap();
            text += &String::from_utf8_lossy(&out.stdout);
        }
        text
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for netns in [&self.near, &self.far] {
            Command::new("ip")
                .args(["netns", "del", netns])
                .status()
                .ok();
        }
    }
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().unwrap();
    assert!(done.status.success(), "ip {arguments:?}: {done:?}");
}

/// A script of Python that is told what to do line by line and answers each with a line.
#[derive(Debug)]
pub struct Script {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Script {
    /// Starts it with a command that runs `python3`.
    pub fn start(mut python: Command, text: &str) -> Self {
        let mut child = python
            .args(["-uc", text])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The same, once it says that it is ready.
    pub fn ready(python: Command, text: &str) -> Self {
        let mut script = Self::start(python, text);
        assert_eq!(script.line(), "ready");
        script
    }

    /// Its next line.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the script has ended: {line:?}");
        line.trim().to_owned()
    }

    /// Tells it a line, and returns its answer.
    pub fn ask(&mut self, line: &str) -> String {
        use std::io::Write as _;
        let input = self.child.stdin.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
        self.line()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A receiver of datagrams on every address: for each line that it is told it says how many have come
/// since the last time. Those of the sender are all there by then, on a link without delay.
pub const RECEIVER: &str = "
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
# SO_RCVBUFFORCE: nothing is read between two lines.
s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
s.bind(('::', 5000))
s.settimeout(0.5)
print('ready')
for line in sys.stdin:
    n = 0
    try:
        while True:
            s.recv(64)
            n += 1
    except TimeoutError:
        pass
    print(n)
";

/// A sender: told `ADDRESS COUNT` it sends so many, and says how many sends failed.
pub const SENDER: &str = "
import socket, sys, time
print('ready')
for line in sys.stdin:
    address, count = line.split()
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    failed = 0
    for i in range(int(count)):
        try:
            s.sendto(b'datagram', (address, 5000))
        except OSError:
            failed += 1
        if i % 50 == 0:
            time.sleep(0.005)
    print(failed)
";

/// Told how many it sends so many datagrams with their numbers, from 0 on.
pub const COUNTS_OUT: &str = "
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(('10.77.0.2', 5000))
print('ready')
for line in sys.stdin:
    for i in range(int(line)):
        s.send(b'%06d' % i)
        if i % 50 == 0:
            time.sleep(0.002)
    print('sent')
";

/// Says the numbers that have come until nothing came for a second.
pub const COUNTS_IN: &str = "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 1 << 28)
s.bind(('', 5000))
s.settimeout(1)
print('ready')
for line in sys.stdin:
    found = []
    try:
        while True:
            found.append(int(s.recv(64)))
    except TimeoutError:
        pass
    print(*found)
";

/// Sends back what it gets, by either version of IP.
pub const ECHO: &str = "
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(('::', 5000))
print('ready')
while True:
    data, who = s.recvfrom(2000)
    s.sendto(data, who)
";
