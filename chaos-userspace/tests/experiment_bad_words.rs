//! What is said about bad fault words, with the place marked.

#[cfg(test)]
mod tests {
    use chaos_userspace::experiment::{FaultKind, word};

    /// The carets and messages, without the word above each.
    fn refused(text: &str) -> String {
        let shown = word::render(text, &word::parse(text).unwrap_err());
        let lines: Vec<&str> = shown.lines().filter(|line| *line != text).collect();
        lines.join("\n")
    }

    #[test]
    fn several_at_once_each_under_its_place() {
        let word = "file.error:open=EFOO@140%,pth=/x";
        assert_eq!(
            word::render(word, &word::parse(word).unwrap_err()),
            "\
file.error:open=EFOO@140%,pth=/x
                ^^^^
errno: 'EFOO' is not the name of an errno; did you mean EIO?

file.error:open=EFOO@140%,pth=/x
                     ^^^^
probability: '140%' is more than everything; a share is from 0% to 100%

file.error:open=EFOO@140%,pth=/x
                          ^^^
pth: file.error has no such key; did you mean path?
"
        );
    }

    #[test]
    fn places_are_counted_in_characters() {
        let word = "file.error:open=EIO,päth=/漢字/../x\t,duration=5";
        assert_eq!(
            word::render(word, &word::parse(word).unwrap_err()),
            "\
file.error:open=EIO,päth=/漢字/../x\u{fffd},duration=5
                    ^^^^
päth: file.error has no such key; did you mean path?

file.error:open=EIO,päth=/漢字/../x\u{fffd},duration=5
                                            ^
duration: '5' has no unit; say which, such as 5s or 5m
"
        );
    }

    #[test]
    fn values_and_delays() {
        for (word, message) in [
            (
                "syscall.return:read=-1",
                "value: '-1' is not such a value; say syscall.error with the name of an errno for a \
                 call that fails",
            ),
            (
                "syscall.return:read=2147483648",
                "value: '2147483648' is not such a value; say a whole number from 0 to 2147483647",
            ),
            (
                "syscall.return:read=some",
                "value: 'some' is not such a value; say a whole number from 0 to 2147483647",
            ),
            (
                "syscall.return:exit_group=0",
                "ops: 'exit_group' can't be hit: it never returns, so that no result can be seen; \
                 name another system call",
            ),
            (
                "syscall.return:read=0,mechanism=lsm",
                "mechanism: lsm can't do syscall.return; say fmod-ret-syscall, kprobe-override or \
                 seccomp-notify",
            ),
            (
                "syscall.delay:fsync=0s",
                "delay: 0s is not such a delay; say whole microseconds, from 1us to 1h",
            ),
            (
                "syscall.delay:fsync=1.5us",
                "delay: 1.5us is not such a delay; say whole microseconds, from 1us to 1h",
            ),
            (
                "syscall.delay:fsync=61m",
                "delay: 1h1m is not such a delay; say whole microseconds, from 1us to 1h",
            ),
            (
                "syscall.delay:fsync=5",
                "delay: '5' has no unit; say which, such as 5s or 5m",
            ),
        ] {
            let said = refused(word);
            assert_eq!(said.trim_end().lines().last(), Some(message), "{word}");
        }
    }

    #[test]
    fn kinds() {
        for (word, message) in [
            (
                "",
                "^\nkind: a fault word begins with a kind of fault; \
                 such as clock.freeze:realtime, clock.offset:realtime=+1h, clock.speed:monotonic+boottime=0.5, clock.step:realtime=+10s,every=1m, disk.error:write=EIO, disk.full=/var/lib/data/, disk.limit=/var/lib,writeBps=1MiB, disk.quota=/var/lib/data/,bytes=10MiB, \
                 disk.readonly=/var/lib/data/, dns.answer:db.example.com=10.0.0.7, dns.delay:*.example.com=200ms, dns.error:*.example.com=nxdomain, file.delay:read=2ms, file.error:open=EIO, mem.mmap:mmap=ENOMEM, \
                 mem.page=ENOMEM,minOrder=2, mem.slab=ENOMEM,cache=filp, net.connect:connect=ETIMEDOUT, net.down, net.link,delay=100ms,jitter=10ms,loss=1%, net.loss=10%, net.partition,peer=10.0.0.7, net.reset=100%,peerPort=5432, pressure.cpu=25%, \
                 syscall.delay:fsync=200ms, syscall.error:fsync=EIO or syscall.return:write=100",
            ),
            (
                "pressure.memory:fsync=1s",
                "^^^^^^^^^^^^^^^\nkind: 'pressure.memory' is not in this version; \
                 there are clock.freeze, clock.offset, clock.speed, clock.step, disk.error, disk.full, disk.limit, disk.quota, disk.readonly, dns.answer, dns.delay, dns.error, file.delay, file.error, mem.mmap, mem.page, mem.slab, net.connect, net.down, net.link, net.loss, net.partition, net.reset, pressure.cpu, syscall.delay, syscall.error and syscall.return",
            ),
            (
                "earthquake=9",
                "^^^^^^^^^^\nkind: 'earthquake' is not a kind of fault; \
                 there are clock.freeze, clock.offset, clock.speed, clock.step, disk.error, disk.full, disk.limit, disk.quota, disk.readonly, dns.answer, dns.delay, dns.error, file.delay, file.error, mem.mmap, mem.page, mem.slab, net.connect, net.down, net.link, net.loss, net.partition, net.reset, pressure.cpu, syscall.delay, syscall.error and syscall.return",
            ),
            (
                "file.eror:open=EIO,path=x",
                "^^^^^^^^^\nkind: 'file.eror' is not a kind of fault; did you mean file.error?\n\n\
                 \u{20}                       ^\n\
                 path: 'x' is not an absolute path; begin with a slash",
            ),
        ] {
            // The word itself is empty once: its line is an empty one.
            assert_eq!(refused(word).trim_start_matches('\n'), message, "{word}");
        }
    }

    #[test]
    fn the_head_of_a_word() {
        for (word, messages) in [
            (
                "file.error",
                "          ^\nops: is missing; write it as in file.error:open=EIO\n\n          ^\nerrno: is missing; write it as in file.error:open=EIO",
            ),
            (
                "file.error:open",
                "               ^\nerrno: is missing; write it as in file.error:open=EIO",
            ),
            (
                "file.error=EIO",
                "          ^\nops: is missing; write it as in file.error:open=EIO",
            ),
            (
                "file.error:open=",
                "                ^\nerrno: is missing; write it as in file.error:open=EIO",
            ),
            (
                "file.error:stat=EIO",
                "           ^^^^\nops: 'stat' is not a file operation; say getattr",
            ),
            (
                "file.error:open+getxattr=EIO,path=/d/",
                "                                  ^^^\npath: can't be told for getxattr: the kernel does not say on which mount the file is; \
                 leave it out, or make these operations a fault of their own without a path",
            ),
            (
                "file.error:write=EIO,includeExec=true",
                "                                 ^^^^\nincludeExec: is about the opens and reads of an execve, and ops has neither; \
                 leave it out, or add open or read",
            ),
            (
                "file.error:open+open=EIO",
                "                ^^^^\nops: 'open' is named twice; name it once",
            ),
            (
                "file.error:open@5%=EIO",
                "               ^\nerrno: is missing; write it as in file.error:open=EIO\n\n                ^^^^^^\nprobability: '5%=EIO' stands after the '@'; the order is KIND:WHAT=EFFECT@PROBABILITY",
            ),
            (
                "net.loss:eth0=5%,direction=ingress",
                "        ^^^^^\nkind: net.loss takes nothing after ':'; write net.loss=10%",
            ),
            (
                "net.loss=0.1,direction=ingress",
                "         ^^^\nshare: '0.1' has no % sign; say a percentage, such as 10%",
            ),
            (
                "net.loss=5%@3%,direction=ingress",
                "            ^^\nprobability: net.loss has none: its effect is the share; leave it out and say the share alone",
            ),
        ] {
            assert_eq!(refused(word), messages, "{word}");
        }
    }

    #[test]
    fn directions_and_effects() {
        let place = format!("{:19}", "");
        assert_eq!(
            refused("net.loss=5%,direction=out"),
            format!(
                "{place}   ^^^\ndirection: 'out' is not a direction; say egress, ingress or both"
            )
        );
        assert_eq!(
            refused("net.partition"),
            "^^^^^^^^^^^^^\npeer: is missing: the target would be cut off from everybody; say whom it \
             is cut off from, as in net.partition,peer=10.0.0.7, or say net.down"
        );
        assert_eq!(
            refused("net.down=5%"),
            "        ^^^\nkind: net.down takes nothing after '='; write net.down"
        );
    }

    #[test]
    fn rates_and_tasks() {
        let after = "file.error:open=EIO,";
        for (word, message) in [
            (
                "maxRate=10",
                "maxRate: '10' is not a rate; say how many in how long, such as 10/s or 3/1m",
            ),
            (
                "maxRate=0/s",
                "maxRate: '0/s' lets nothing through; say at least 1, as in 1/s",
            ),
            (
                "scope=process",
                "scope: 'process' is not a scope; say rule or thread",
            ),
            (
                "uid=root",
                "uid: 'root' is not the id of a user; say a number from 0 to 4294967294, as `id -u` prints",
            ),
            (
                "uid=4294967295",
                "uid: '4294967295' is not the id of a user; say a number from 0 to 4294967294, as `id -u` prints",
            ),
            (
                "comm=a-name-of-16-byt",
                "comm: 'a-name-of-16-byt' is longer than the 15 bytes that Linux keeps; say the first 15 of them, as /proc/PID/comm has it",
            ),
            (
                "thread=",
                "thread: is empty; say a name as /proc/PID/comm has it",
            ),
        ] {
            let said = refused(&format!("{after}{word}"));
            assert_eq!(said.lines().last(), Some(message), "{said}");
        }
        for key in ["scope=thread", "comm=x", "uid=1", "thread=x"] {
            let said = refused(&format!("net.loss=10%,direction=ingress,{key}"));
            assert!(
                said.contains("net.loss has none: packets belong to no task"),
                "{said}"
            );
        }
    }

    #[test]
    fn keys() {
        let place = format!("{:20}", "");
        let has = "path, includeExec, when, scope, times, maxRate, replay, comm, uid, thread, exclude, seed, shadow, stack, mechanism, after, duration and pulse";
        for (keys, message) in [
            ("glob=/a/*", format!("^^^^\nglob: this key is not in this version; file.error has {has}")),
            ("colour=red", format!("^^^^^^\ncolour: file.error has no such key; it has {has}")),
            ("errno=EIO", "^^^^^\nerrno: is not a key; write it in front, as in file.error:open=EIO".to_owned()),
            ("probability=5%", "^^^^^^^^^^^\nprobability: is not a key; write it in front, as in @PROBABILITY".to_owned()),
            ("id=x", "^^\nid: a fault word has none; say it in an experiment file".to_owned()),
            ("shadow", "^^^^^^\nshadow: has no value; write shadow=true".to_owned()),
            ("", "^\nthere is nothing between two commas, or after the last; write KEY=VALUE after each comma; a comma in a value is '\\,'".to_owned()),
        ] {
            assert_eq!(refused(&format!("file.error:open=EIO,{keys}")), format!("{place}{message}"));
        }
        assert_eq!(
            refused("file.error:open=EIO,times=1,times=2"),
            format!("{:28}^^^^^\ntimes: is given twice; give it once", "")
        );
        assert_eq!(
            refused("net.loss=5%,direction=ingress,path=/a"),
            format!(
                "{:30}^^^^\npath: net.loss has no such key; it has direction, peer, exceptPeer, peerPort, localPort, proto, visible, when, times, maxRate, replay, exclude, seed, \
                 shadow, mechanism, after, duration and pulse",
                ""
            )
        );
    }

    #[test]
    fn values() {
        let word = "file.error:open=EIO,shadow=yes,when=9..3,pulse=10s/2s,duration=0s,times=0,mechanism=cgroup-skb,path=/a\\b";
        let violations = word::parse(word).unwrap_err();
        let places: Vec<(&str, String)> = violations
            .iter()
            .map(|violation| {
                (
                    &word[violation.span.clone().unwrap()],
                    violation.to_string(),
                )
            })
            .collect();
        let expected = [
            (
                "yes",
                "shadow: 'yes' is neither true nor false; say true or false",
            ),
            (
                "9..3",
                "when: '9..3' ends at 3, before it begins at 9; did you mean 3..9?",
            ),
            (
                "10s/2s",
                "pulse: '10s/2s' is never off; say active/every with active shorter than every, such as 2s/10s",
            ),
            (
                "0s",
                "duration: is zero; say how long the fault lives, such as 30s",
            ),
            ("0", "times: is 0: nothing would be hit; say at least 1"),
            (
                "cgroup-skb",
                "mechanism: cgroup-skb can't do file.error; say lsm or fmod-ret",
            ),
            (
                "\\b",
                "path: a backslash stands before a comma or a backslash only; write '\\\\' for a backslash",
            ),
        ];
        assert_eq!(
            places,
            expected.map(|(place, message)| (place, message.to_owned()))
        );
    }

    #[test]
    fn commas_and_backslashes_in_values() {
        let word = r"file.error:open=EIO,path=/a\,b\\c=@:+%/";
        let fault = word::parse(word).unwrap();
        assert_eq!(word::format(&fault), word);
        let FaultKind::FileError(file) = fault.kind else {
            panic!("another kind");
        };
        assert_eq!(file.path.unwrap().as_str(), r"/a,b\c=@:+%/");
    }

    #[test]
    fn no_word_is_endless() {
        let word = format!("file.error:open=EIO,path=/{}", "x".repeat(1 << 20));
        assert_eq!(
            word::parse(&word).unwrap_err().to_string(),
            "the word has 1048602 bytes; a fault word has at most 16384"
        );
    }
}
