//! `net.reset` on a real kernel.

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Lines, Write as _},
        process::{Child, ChildStdin, ChildStdout, Command, Stdio},
        time::Duration,
    };

    use kchaos_tests::{
        bpf::Loaded, cgroup::Cgroup, counter, eventually, kchaos, require, run_script, signal,
    };
    use serde_json::Value;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Has so many connections by IPv4 and as many by IPv6 with a server of its own, which is not in the
    /// cgroup, and prints for each line that it is given what has become of them: `ok` or an errno. `again`
    /// makes those anew that are gone.
    const TALKS: &str = "
import socket, sys
ports = [int(port) for port in sys.argv[1:3]]
count = int(sys.argv[3])
ends = [('127.0.0.1', ports[0])] * count + [('::1', ports[1])] * count
talks = [socket.create_connection(end) for end in ends]
print('ready', flush=True)
for line in sys.stdin:
    said = []
    for place, talk in enumerate(talks):
        try:
            talk.sendall(b'x'); said.append('ok' if talk.recv(1) == b'x' else 'end')
        except OSError as error:
            said.append(str(error.errno))
            if line == 'again\\n':
                talks[place] = socket.create_connection(ends[place])
    print(' '.join(said), flush=True)
";

    /// Gives back what it gets, to anybody, by both families; prints its ports, and each error.
    const ECHOES: &str = "
import socket, threading
def echo(talk):
    try:
        while True:
            got = talk.recv(64)
            if not got: break
            talk.sendall(got)
    except OSError as error:
        print(error.errno, flush=True)
def listen(family, host):
    s = socket.socket(family); s.bind((host, 0)); s.listen(64)
    def accept():
        while True:
            threading.Thread(target=echo, args=(s.accept()[0],), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return s.getsockname()[1]
print(listen(socket.AF_INET, '127.0.0.1'), listen(socket.AF_INET6, '::1'), flush=True)
threading.Event().wait()
";

    /// A python program that is talked to by lines.
    struct Python {
        child: Child,
        input: ChildStdin,
        lines: Lines<BufReader<ChildStdout>>,
    }

    impl Python {
        fn start(mut command: Command, script: &str, arguments: &[&str]) -> Self {
            let mut child = command
                .args(["-c", script])
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            Self {
                input: child.stdin.take().unwrap(),
                child,
                lines,
            }
        }

        fn line(&mut self) -> String {
            self.lines.next().unwrap().unwrap()
        }

        fn ask(&mut self, line: &str) -> Vec<String> {
            writeln!(self.input, "{line}").unwrap();
            self.line().split(' ').map(str::to_owned).collect()
        }
    }

    impl Drop for Python {
        fn drop(&mut self) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }

    struct Server {
        process: Python,
        ports: Vec<String>,
    }

    impl Server {
        fn start() -> Self {
            let mut process = Python::start(Command::new("/usr/bin/python3"), ECHOES, &[]);
            let ports = process.line().split(' ').map(str::to_owned).collect();
            Self { process, ports }
        }

        fn client(&self, cgroup: &Cgroup) -> Python {
            let mut client = Python::start(
                cgroup.command("/usr/bin/python3"),
                TALKS,
                &[&self.ports[0], &self.ports[1], "3"],
            );
            assert_eq!(client.line(), "ready");
            client
        }
    }

    /// A `kchaos inject` that has said something.
    struct Armed {
        child: Child,
        lines: Lines<BufReader<ChildStdout>>,
    }

    impl Armed {
        fn start(cgroup: &Cgroup, faults: &[&str], duration: &str) -> Self {
            let mut command = Command::new("kchaos");
            command.args(["inject", "--json", "--seed", "3", "--duration", duration]);
            command.args(["--target", &cgroup.target()]);
            for fault in faults {
                command.args(["--fault", fault]);
            }
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            lines.next().unwrap().unwrap();
            Self { child, lines }
        }

        /// Evidence that has so many injections.
        fn injected(&mut self, wanted: u64) -> Value {
            let mut last = Value::Null;
            eventually("they are ended", PATIENCE, || {
                let line = self.lines.next().unwrap().unwrap();
                last = serde_json::from_str(&line).unwrap();
                counter(&last, 0, "injected") >= wanted
            });
            last
        }

        fn stop(mut self) -> Value {
            signal(self.child.id(), libc::SIGINT);
            let last = self.lines.by_ref().map(Result::unwrap).last().unwrap();
            self.child.wait().unwrap();
            serde_json::from_str(&last).unwrap()
        }
    }

    /// Considered, matched, injected.
    fn counted(account: &Value) -> [u64; 3] {
        ["considered", "matched", "injected"].map(|name| counter(account, 0, name))
    }

    const OK: &str = "ok";
    /// ECONNABORTED: the kernel has ended it.
    const ABORTED: &str = "103";
    const ALL_OK: [&str; 6] = [OK; 6];
    const ALL_ABORTED: [&str; 6] = [ABORTED; 6];

    #[test]
    fn connections_of_the_target_are_ended_and_nobody_elses() {
        require!("net.reset"; "debian-6.1");
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let (inside, left_out) = (target.child("inside"), target.child("left-out"));
        let mut server = Server::start();
        let mut clients = [&target, &inside, &left_out, &neighbour].map(|c| server.client(c));
        for client in &mut clients {
            assert_eq!(client.ask(""), ALL_OK);
        }
        let fault = format!("net.reset=100%,exclude={}", left_out.path());
        let mut armed = Armed::start(&target, &[&fault], "60s");
        armed.injected(12);
        let [mut hit, mut nested, mut spared, mut beside] = clients;
        assert_eq!(hit.ask("again"), ALL_ABORTED);
        assert_eq!(nested.ask("again"), ALL_ABORTED, "the subtree");
        assert_eq!(spared.ask(""), ALL_OK, "what is left out");
        assert_eq!(beside.ask(""), ALL_OK, "the neighbour");
        for _ in 0..12 {
            assert_eq!(server.process.line(), libc::ECONNRESET.to_string());
        }
        // It was once.
        assert_eq!(hit.ask(""), ALL_OK, "new ones");
        let last = armed.stop();
        assert_eq!(counted(&last), [12; 3], "{last}");
        assert_eq!(hit.ask(""), ALL_OK, "after the end");
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn shares_peers_ports_and_budgets_are_kept() {
        require!("net.reset"; "debian-6.1");
        let target = Cgroup::new("target");
        let server = Server::start();
        let mut client = server.client(&target);
        let [v4, v6] = [0, 1].map(|index| server.ports[index].clone());
        let cases = [
            ("=100%,peer=127.0.0.0/8".to_owned(), [3, 3]),
            ("=100%,peer=::1".to_owned(), [3, 3]),
            (format!("=100%,peerPort={v6}"), [3, 3]),
            (
                format!("=100%,peer=10.0.0.0/8,peer=::1,peerPort={v4}"),
                [0, 0],
            ),
            (format!("=100%,localPort={v4}"), [0, 0]),
            ("=100%,times=2".to_owned(), [6, 2]),
            ("=100%,when=2+3".to_owned(), [6, 2]),
            ("=0%".to_owned(), [6, 0]),
        ];
        let faults = cases
            .each_ref()
            .map(|(keys, _)| format!("net.reset{keys},shadow=true"));
        let armed = Armed::start(&target, &faults.each_ref().map(String::as_str), "60s");
        std::thread::sleep(Duration::from_secs(3));
        let last = armed.stop();
        for (index, (keys, counts)) in cases.iter().enumerate() {
            let count = |name| counter(&last, index, name);
            assert_eq!(count("considered"), 6, "{keys} {last}");
            assert_eq!(
                [count("matched"), count("wouldInject")],
                *counts,
                "{keys} {last}"
            );
        }
        assert_eq!(client.ask(""), ALL_OK, "{last}");
        // And now in earnest: by their order, IPv4 comes first.
        let mut armed = Armed::start(&target, &["net.reset=100%,times=4"], "60s");
        let last = armed.injected(4);
        let said = client.ask("");
        assert_eq!(said[..3], ALL_ABORTED[..3], "{last}");
        let of_ipv6 = said[3..].iter().filter(|one| *one == ABORTED).count();
        assert_eq!(of_ipv6, 1, "{said:?} {last}");
        let last = armed.stop();
        let event = &last["faults"][0]["trail"]["events"][0];
        assert_eq!(event["destination"], format!("127.0.0.1:{v4}"), "{last}");
    }

    #[test]
    fn each_pulse_ends_them_again_until_kchaos_is_gone() {
        require!("net.reset"; "debian-6.1");
        let target = Cgroup::new("target");
        let server = Server::start();
        let mut client = server.client(&target);
        let mut armed = Armed::start(&target, &["net.reset=100%,pulse=1s/4s,after=1s"], "120s");
        for times in 1..=2 {
            armed.injected(6 * times);
            assert_eq!(client.ask("again"), ALL_ABORTED, "{times}");
        }
        signal(armed.child.id(), libc::SIGKILL);
        armed.child.wait().unwrap();
        assert_eq!(client.ask(""), ALL_OK);
        std::thread::sleep(Duration::from_secs(5));
        assert_eq!(client.ask(""), ALL_OK, "nothing goes on");
    }

    #[test]
    fn another_network_namespace_is_entered() {
        require!("net.reset"; "debian-6.1");
        let script = "unshare --net bash -c '
            ip link set lo up
            python3 -m http.server --bind 127.0.0.1 8123 >/dev/null 2>&1 &
            until exec 3<>/dev/tcp/127.0.0.1/8123; do sleep 0.1; done 2>/dev/null
            sleep 5
            read -r answer <&3; echo status $?'";
        let (said, account) = run_script(&["net.reset=100%,peerPort=8123,pulse=200ms/1s"], script);
        assert_eq!(counter(&account, 0, "injected"), 1, "{said:?}");
        assert!(said.out.contains("status 1"), "{said:?}");
        assert!(said.err.contains("connection abort"), "{said:?}");
    }

    #[test]
    fn clients_say_what_is_wrong() {
        require!("net.reset"; "debian-6.1");
        let script = "redis-server --port 6399 --save '' --daemonize yes >/dev/null
            until grep -q ':18FF 00000000:0000 0A' /proc/net/tcp; do sleep 0.1; done
            (sleep 4; echo PING) | redis-cli -p 6399 2>&1
            redis-cli -p 6399 shutdown nosave";
        let fault = "net.reset=100%,peerPort=6399,pulse=100ms/200ms,times=1";
        let (said, account) = run_script(&[fault], script);
        assert_eq!(counter(&account, 0, "injected"), 1, "{said:?}");
        // It says what was in the way, or connects anew at once.
        let words = "Software caused connection abort";
        assert!(said.out.contains(words) || said.out == "PONG\n", "{said:?}");
    }

    #[test]
    fn a_pid_and_other_protocols_are_refused() {
        let pid = format!("pid={}", std::process::id());
        let arguments = ["inject", "--duration", "1s", "--target", &pid, "--fault"];
        let said = kchaos(&[&arguments[..], &["net.reset=100%"]].concat());
        assert_eq!(said.status, 2, "{said:?}");
        assert!(said.err.contains("connections have none"), "{said:?}");
    }
}
