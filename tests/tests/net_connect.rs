//! `net.connect` on a real kernel.

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        io::{BufRead as _, BufReader, Lines},
        net::TcpListener,
        process::{Child, ChildStdout, Command, Stdio},
        time::{Duration, Instant},
    };

    use kchaos_tests::{bpf::Loaded, cgroup::Cgroup, counter, require, run_script, signal};
    use serde_json::Value;

    const PATIENCE: Duration = Duration::from_secs(20);
    const ETIMEDOUT: i32 = libc::ETIMEDOUT;

    /// Asks sockets for one thing each, and prints what it was with its errno, 0 if it was done. All is
    /// about the loopback, and about port 7 where there is one: nobody listens there.
    const ASKS: &str = "
from socket import *
def ask(name, family, kind, how):
    s = socket(family, kind)
    try:
        how(s)
        print(name, 0)
    except OSError as error:
        print(name, error.errno)
    s.close()
V4, V6 = ('127.0.0.1', 7), ('::1', 7)
MAPPED = ('::ffff:127.0.0.1', 7)
ask('connect-tcp4', AF_INET, SOCK_STREAM, lambda s: s.connect(V4))
ask('connect-tcp6', AF_INET6, SOCK_STREAM, lambda s: s.connect(V6))
ask('connect-tcp-mapped', AF_INET6, SOCK_STREAM, lambda s: s.connect(MAPPED))
ask('connect-udp4', AF_INET, SOCK_DGRAM, lambda s: s.connect(V4))
ask('connect-udp6', AF_INET6, SOCK_DGRAM, lambda s: s.connect(V6))
ask('connect-udp-mapped', AF_INET6, SOCK_DGRAM, lambda s: s.connect(MAPPED))
ask('sendmsg4', AF_INET, SOCK_DGRAM, lambda s: s.sendto(b'x', V4))
ask('sendmsg6', AF_INET6, SOCK_DGRAM, lambda s: s.sendto(b'x', V6))
ask('sendmsg-mapped', AF_INET6, SOCK_DGRAM, lambda s: s.sendmsg([b'x'], [], 0, MAPPED))
ask('bind-tcp4', AF_INET, SOCK_STREAM, lambda s: s.bind(('127.0.0.1', 0)))
ask('bind-tcp6', AF_INET6, SOCK_STREAM, lambda s: s.bind(('::1', 0)))
ask('bind-udp4', AF_INET, SOCK_DGRAM, lambda s: s.bind(('127.0.0.1', 4700)))
ask('bind-udp6', AF_INET6, SOCK_DGRAM, lambda s: s.bind(('::1', 4700)))
ask('unix', AF_UNIX, SOCK_STREAM, lambda s: s.bind('\\0kchaos-test'))
";

    fn asked(cgroup: &Cgroup) -> BTreeMap<String, i32> {
        let output = cgroup
            .command("/usr/bin/python3")
            .args(["-c", ASKS])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        said.lines()
            .map(|line| {
                let (name, errno) = line.split_once(' ').unwrap();
                (name.to_owned(), errno.parse().unwrap())
            })
            .collect()
    }

    /// What each of them comes to, by how its name begins; what is not named is as without a fault.
    fn expected(free: &BTreeMap<String, i32>, hit: &[(&str, i32)]) -> BTreeMap<String, i32> {
        free.iter()
            .map(|(name, errno)| {
                let hit = hit.iter().find(|(begin, _)| name.starts_with(begin));
                (name.clone(), hit.map_or(*errno, |(_, errno)| *errno))
            })
            .collect()
    }

    /// A `kchaos inject` that is armed.
    struct Armed {
        child: Child,
        lines: Lines<BufReader<ChildStdout>>,
    }

    impl Armed {
        fn start(cgroup: &Cgroup, duration: &str, faults: &[&str]) -> Self {
            let mut command = Command::new("kchaos");
            command.args(["inject", "--json", "--seed", "3", "--duration", duration]);
            command.args(["--target", &cgroup.target()]);
            for fault in faults {
                command.args(["--fault", fault]);
            }
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            // The first line of evidence says that it is armed.
            lines.next().unwrap().unwrap();
            Self { child, lines }
        }

        /// Ends it, and returns its last evidence.
        fn stop(mut self) -> Value {
            signal(self.child.id(), libc::SIGINT);
            let last = self.lines.by_ref().map(Result::unwrap).last().unwrap();
            self.child.wait().unwrap();
            serde_json::from_str(&last).unwrap()
        }
    }

    /// Considered, matched, injected.
    fn counted(account: &Value, fault: usize) -> [u64; 3] {
        ["considered", "matched", "injected"].map(|name| counter(account, fault, name))
    }

    #[test]
    fn each_operation_fails_in_the_target_alone() {
        require!("net.connect"; "debian-6.1");
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let (inside, left_out) = (target.child("inside"), target.child("left-out"));
        let free = asked(&neighbour);
        assert_eq!(free["connect-tcp4"], libc::ECONNREFUSED, "{free:?}");
        assert_eq!(free["bind-udp6"], 0, "{free:?}");
        let exclude = format!("exclude={}", left_out.path());
        let faults = [
            format!("net.connect=ETIMEDOUT,{exclude}"),
            format!("net.connect:sendmsg=ENETUNREACH,{exclude}"),
            format!("net.connect:bind=EADDRINUSE,{exclude}"),
        ];
        let armed = Armed::start(&target, "60s", &faults.each_ref().map(String::as_str));
        let hit = expected(
            &free,
            &[
                ("connect-", ETIMEDOUT),
                ("sendmsg", libc::ENETUNREACH),
                ("bind-", libc::EADDRINUSE),
            ],
        );
        assert_eq!(asked(&target), hit);
        assert_eq!(asked(&inside), hit, "the subtree");
        assert_eq!(asked(&neighbour), free, "the neighbour");
        assert_eq!(asked(&left_out), free, "what is left out");
        let last = armed.stop();
        for (fault, times) in [(0, 6), (1, 3), (2, 4)] {
            assert_eq!(counted(&last, fault), [2 * times; 3], "{fault}: {last}");
        }
        let event = &last["faults"][1]["trail"]["events"][0];
        assert_eq!(event["syscall"], 46, "sendmsg: {event}");
        assert!(
            event["comm"].as_str().unwrap().starts_with("python3"),
            "{event}"
        );
        assert_eq!(asked(&target), free, "after the end");
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn peers_ports_and_protocols_are_told_apart() {
        require!("net.connect"; "debian-6.1");
        let (target, other) = (Cgroup::new("target"), Cgroup::new("other"));
        let free = asked(&other);
        // Those that come later are asked about what the ones before have let pass.
        let cases: [(&str, i32, &[&str], [u64; 3]); 8] = [
            // What IPv6 maps of IPv4 is IPv4.
            (
                "net.connect=EPERM,peer=127.0.0.0/8,proto=udp",
                libc::EPERM,
                &["connect-udp4", "connect-udp-mapped"],
                [6, 2, 2],
            ),
            (
                "net.connect=EIO,peer=::1,proto=tcp",
                libc::EIO,
                &["connect-tcp6"],
                [4, 1, 1],
            ),
            (
                "net.connect=ENXIO,peer=10.0.0.0/8,peer=::1,peerPort=7,proto=udp",
                libc::ENXIO,
                &["connect-udp6"],
                [3, 1, 1],
            ),
            ("net.connect=ESRCH,peerPort=8", libc::ESRCH, &[], [2, 0, 0]),
            (
                "net.connect:sendmsg=ENODEV,peer=127.0.0.1,peerPort=7",
                libc::ENODEV,
                &["sendmsg4", "sendmsg-mapped"],
                [3, 2, 2],
            ),
            (
                "net.connect:bind=EADDRINUSE,localPort=4700",
                libc::EADDRINUSE,
                &["bind-udp4", "bind-udp6"],
                [4, 2, 2],
            ),
            (
                "net.connect:bind=EACCES,proto=tcp",
                libc::EACCES,
                &["bind-tcp4", "bind-tcp6"],
                [2, 2, 2],
            ),
            // The third, whichever operation it is.
            (
                "net.connect:connect+sendmsg=ETIMEDOUT,when=3",
                libc::ETIMEDOUT,
                &["sendmsg6"],
                [3, 3, 1],
            ),
        ];
        let mut hit = free.clone();
        for (name, errno) in cases
            .iter()
            .flat_map(|(_, errno, names, _)| names.iter().map(move |name| (*name, *errno)))
        {
            *hit.get_mut(name).unwrap() = errno;
        }
        let armed = Armed::start(&target, "60s", &cases.each_ref().map(|case| case.0));
        assert_eq!(asked(&target), hit);
        let last = armed.stop();
        for (index, (fault, _, _, counts)) in cases.iter().enumerate() {
            assert_eq!(counted(&last, index), *counts, "{fault}");
        }
    }

    #[test]
    fn nested_targets_decide_for_themselves_and_the_first_error_counts() {
        require!("net.connect"; "debian-6.1");
        let target = Cgroup::new("target");
        let inner = target.child("inner");
        let free = asked(&target);
        let outer_fault = Armed::start(&target, "60s", &["net.connect=ETIMEDOUT,proto=tcp"]);
        let inner_fault = Armed::start(&inner, "60s", &["net.connect=EHOSTUNREACH"]);
        let said = asked(&inner);
        let [udp, tcp] = ["connect-udp", "connect-tcp"]
            .map(|begin| said.iter().filter(move |(name, _)| name.starts_with(begin)));
        assert!(udp.clone().all(|(_, errno)| *errno == libc::EHOSTUNREACH));
        let first = said["connect-tcp4"];
        assert!([ETIMEDOUT, libc::EHOSTUNREACH].contains(&first), "{said:?}");
        assert!(tcp.clone().all(|(_, errno)| *errno == first), "{said:?}");
        let outer_hit = expected(&free, &[("connect-tcp", ETIMEDOUT)]);
        assert_eq!(asked(&target), outer_hit);
        let (outer, nested) = (outer_fault.stop(), inner_fault.stop());
        // A call that has failed already is not asked about again.
        let sum = counter(&outer, 0, "injected") + counter(&nested, 0, "injected");
        assert_eq!(sum, 6 + 3, "{outer} {nested}");
    }

    #[test]
    fn the_seed_and_who_it_is_decide() {
        require!("net.connect"; "debian-6.1");
        let script = "for n in {1..16}; do
            curl -s -o /dev/null http://127.0.0.1:7/; echo -n \"$? \"
        done";
        let fault = "net.connect:connect=ETIMEDOUT@50%,comm=curl,seed=5";
        let (said, account) = run_script(&[fault], script);
        let (again, _) = run_script(&[fault], script);
        // CURLE_OPERATION_TIMEDOUT of a connect that says so, CURLE_COULDNT_CONNECT of any other.
        let hit = said.out.split_whitespace().filter(|status| *status == "28");
        assert_eq!(said.out, again.out, "the same seed");
        assert_eq!(counter(&account, 0, "injected"), hit.count() as u64);
        assert_eq!(counter(&account, 0, "matched"), 16, "{account}");
        let other = "net.connect:connect=ETIMEDOUT,comm=wget";
        let (said, account) = run_script(&[other], script);
        assert!(!said.out.contains("28"), "{said:?}");
        assert_eq!(counted(&account, 0), [16, 0, 0], "{account}");
    }

    #[test]
    fn clients_say_what_is_wrong() {
        require!("net.connect"; "debian-6.1");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let fault = format!("net.connect=EHOSTUNREACH,peer=127.0.0.1,peerPort={port}");
        for client in [
            format!("redis-cli -h 127.0.0.1 -p {port} ping"),
            format!("PGCONNECT_TIMEOUT=5 psql -h 127.0.0.1 -p {port} -c 'select 1'"),
        ] {
            let (said, account) = run_script(&[&fault], &client);
            let words = format!("{}{}", said.out, said.err);
            assert!(words.contains("No route to host"), "{said:?}");
            assert!(counter(&account, 0, "injected") >= 1, "{account}");
        }
    }

    /// A connect, again and again, each on a line as an errno.
    const KNOCKS: &str = "
import socket, time
while True:
    s = socket.socket()
    print(s.connect_ex(('127.0.0.1', 7)), flush=True)
    s.close()
    time.sleep(0.02)
";

    #[test]
    fn it_ends_at_its_deadline_and_when_kchaos_is_killed() {
        require!("net.connect"; "debian-6.1");
        let before = Loaded::now();
        let target = Cgroup::new("target");
        let mut victim = target
            .command("/usr/bin/python3")
            .args(["-c", KNOCKS])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut knocks = BufReader::new(victim.stdout.take().unwrap()).lines();
        let mut becomes = |errno: i32, what: &str| {
            // It knocks for as long as it takes, and never faster than this reads.
            let start = Instant::now();
            while knocks.next().unwrap().unwrap() != errno.to_string() {
                assert!(
                    start.elapsed() < PATIENCE,
                    "not within {PATIENCE:?}: {what}"
                );
            }
        };
        becomes(libc::ECONNREFUSED, "nothing is armed");
        // One that is stopped can end nothing itself: the kernel does.
        let held = Armed::start(&target, "3s", &["net.connect=ETIMEDOUT"]);
        becomes(ETIMEDOUT, "armed");
        signal(held.child.id(), libc::SIGSTOP);
        becomes(libc::ECONNREFUSED, "the deadline has passed");
        signal(held.child.id(), libc::SIGCONT);
        let last = held.stop();
        assert!(counter(&last, 0, "injected") > 0, "{last}");
        let mut killed = Armed::start(&target, "60s", &["net.connect=ETIMEDOUT"]);
        becomes(ETIMEDOUT, "armed again");
        signal(killed.child.id(), libc::SIGKILL);
        becomes(libc::ECONNREFUSED, "killed");
        killed.child.wait().unwrap();
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert_eq!(before.left_since(), Loaded::default());
    }
}
