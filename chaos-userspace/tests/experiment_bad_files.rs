//! What is said about bad experiments, to the letter.

#[cfg(test)]
mod tests {
    use chaos_userspace::experiment::{Complete, yaml};

    const START: &str = "apiVersion: kchaos.dev/v1alpha1\nkind: FaultExperiment\n";
    const HEAD: &str = "metadata: {name: a}\nspec:\n";
    const TARGET: &str = "  target: {cgroup: /a}\n";
    const DURATION: &str = "  duration: 3m\n";
    const FAULT: &str = "  - fileError: {ops: [open], errno: EIO}\n";

    fn refused(bytes: impl AsRef<[u8]>) -> String {
        yaml::parse(bytes.as_ref()).unwrap_err().to_string()
    }

    /// About a file that is fine but for its faults.
    fn faults_refused(faults: &str) -> String {
        refused(format!(
            "{START}{HEAD}{TARGET}{DURATION}  faults:\n{faults}"
        ))
    }

    #[test]
    fn unknown_field() {
        assert_eq!(
            faults_refused("  - fileError: {ops: [open], errno: EIO, pth: /x}\n"),
            "spec.faults[0].fileError.pth: unknown field; did you mean path?"
        );
        assert_eq!(
            faults_refused("  - {fileError: {ops: [open], errno: EIO}, colour: red}\n"),
            "spec.faults[0].colour: unknown field; \
             fields here: id, target, after, duration, pulse, clockFreeze, clockOffset, clockSpeed, clockStep, diskError, diskFull, diskLimit, diskQuota, diskReadonly, dnsAnswer, dnsDelay, dnsError, fileDelay, fileError, memMmap, memPage, memSlab, netConnect, netDown, netLink, netLoss, netPartition, netReset, pressureCpu, syscallDelay, syscallError, syscallReturn, netCorrupt, netDelay, netDuplicate, netRate, netReorder"
        );
    }

    #[test]
    fn probability_140_percent() {
        assert_eq!(
            faults_refused("  - fileError: {ops: [open], errno: EIO, probability: 140%}\n"),
            "spec.faults[0].fileError.probability: \
             '140%' is more than everything; a share is from 0% to 100%"
        );
    }

    #[test]
    fn errno_efoo() {
        assert_eq!(
            faults_refused(&format!(
                "{FAULT}  - fileError: {{ops: [open], errno: EFOO}}\n"
            )),
            "spec.faults[1].fileError.errno: \
             'EFOO' is not the name of an errno; did you mean EIO?"
        );
    }

    #[test]
    fn no_target() {
        let remedy = "say what is hit, such as target: {unit: nginx.service}";
        let file = format!("{START}{HEAD}{DURATION}  faults:\n{FAULT}");
        assert_eq!(refused(&file), format!("spec.target: is missing; {remedy}"));
        assert_eq!(
            refused(format!("{file}{FAULT}    target: {{pid: 17}}\n")),
            format!("spec.target: is missing, and spec.faults[0] has none of its own; {remedy}")
        );
        assert!(yaml::parse_for(file.as_bytes(), Complete::Run).is_ok());
    }

    #[test]
    fn two_targets_in_one() {
        assert_eq!(
            refused(format!(
                "{START}{HEAD}  target: {{cgroup: /a, pid: 17}}\n{DURATION}  faults:\n{FAULT}"
            )),
            "spec.target: names 2 targets: cgroup and pid; keep exactly one"
        );
    }

    #[test]
    fn no_duration() {
        let file = format!("{START}{HEAD}{TARGET}  faults:\n{FAULT}");
        assert_eq!(
            refused(&file),
            "spec.duration: is missing; say for how long, such as duration: 30s"
        );
        assert!(yaml::parse_for(file.as_bytes(), Complete::Run).is_ok());
    }

    #[test]
    fn two_faults_with_one_id() {
        let fault = |id| format!("  - {{id: {id}, fileError: {{ops: [open], errno: EIO}}}}\n");
        assert_eq!(
            faults_refused(&[fault("x"), fault("y"), fault("x")].concat()),
            "spec.faults[2].id: \
             'x' is the id of spec.faults[0] already; give each fault an id of its own"
        );
    }

    #[test]
    fn a_file_of_10_mb() {
        assert_eq!(
            refused(vec![b'a'; 10_000_000]),
            "the file is larger than 1 MiB; no experiment is: name the right file"
        );
    }

    #[test]
    fn not_yaml() {
        let remedy = "check its indentation, colons, quotes and brackets";
        assert_eq!(
            refused("a: [1, 2\nb: }\n"),
            format!(
                "line 2, column 2: this is not YAML: illegal placement of ':' indicator; {remedy}"
            )
        );
        assert_eq!(
            refused("hello world\n"),
            "the file is the text 'hello world' instead of a mapping; \
             its fields: apiVersion, kind, metadata, spec"
        );
        assert_eq!(
            refused("\n"),
            "the file is empty; an experiment begins with apiVersion: kchaos.dev/v1alpha1"
        );
    }

    #[test]
    fn not_utf_8() {
        assert_eq!(
            refused(b"a: 1\nb: \xff\n"),
            "the file is not UTF-8, first on line 2; save it as UTF-8"
        );
    }

    #[test]
    fn everything_at_once() {
        let file = "
apiVersion: kchaos.dev/v1
kind: FaultExperiment
metadata: {name: My_Test, labels: {a: b}}
spec:
  seed: -1
  contactTimeout: 60s
  faults:
  - {id: x, fileError: {ops: [open, opn], errno: EFOO, probability: 140%, duration: 3m}, times: 3}
  - {id: x, netLoss: {share: 0.1, probability: 3%}, target: {pid: 1}, pulse: 10s/2s}
  - {pressureMemory: {ops: [fsync], errno: EIO}}
  - 7
  - {fileError: {ops: open}, netLoss: {share: 5%}, after: }
  - {}
";
        let expected = "\
apiVersion: 'kchaos.dev/v1' is not in this version; say apiVersion: kchaos.dev/v1alpha1
metadata.labels: is not in this version; fields here: name
metadata.name: 'My_Test' is not a name; use lowercase letters, digits and '-', at most 63, \
a letter or digit at both ends
spec.contactTimeout: is not in this version; fields here: target, duration, seed, faults, checks
spec.seed: '-1' is not a whole number; say one in digits, such as 3
spec.target: is missing, and spec.faults[0] and 4 more have none of their own; \
say what is hit, such as target: {unit: nginx.service}
spec.duration: is missing; say for how long, such as duration: 30s
spec.faults[0].times: does not belong here; it is spec.faults[0].fileError.times
spec.faults[0].fileError.duration: does not belong here; it is spec.faults[0].duration
spec.faults[0].fileError.ops[1]: 'opn' is not a file operation; did you mean open?
spec.faults[0].fileError.errno: 'EFOO' is not the name of an errno; did you mean EIO?
spec.faults[0].fileError.probability: '140%' is more than everything; a share is from 0% to 100%
spec.faults[1].netLoss.share: '0.1' has no % sign; say a percentage, such as 10%
spec.faults[1].pulse: '10s/2s' is never off; say active/every with active shorter than every, \
such as 2s/10s
spec.faults[1].id: 'x' is the id of spec.faults[0] already; give each fault an id of its own
spec.faults[1].target.pid: 1 is init; name another process
spec.faults[1].target: net.loss can't hit a pid: packets have none; name a cgroup or a unit
spec.faults[1].netLoss.probability: net.loss has none: its effect is the share; leave it out and \
say the share alone
spec.faults[2].pressureMemory: 'pressureMemory' is not in this version; there are clockFreeze, clockOffset, clockSpeed, clockStep, diskError, diskFull, diskLimit, diskQuota, diskReadonly, dnsAnswer, dnsDelay, dnsError, fileDelay, fileError, memMmap, memPage, memSlab, netConnect, netDown, netLink, netLoss, netPartition, netReset, pressureCpu, syscallDelay, syscallError and syscallReturn
spec.faults[3]: is the number 7 instead of a mapping; \
its fields: id, target, after, duration, pulse, clockFreeze, clockOffset, clockSpeed, clockStep, diskError, diskFull, diskLimit, diskQuota, diskReadonly, dnsAnswer, dnsDelay, dnsError, fileDelay, fileError, memMmap, memPage, memSlab, netConnect, netDown, netLink, netLoss, netPartition, netReset, pressureCpu, syscallDelay, syscallError, syscallReturn, netCorrupt, netDelay, netDuplicate, netRate, netReorder
spec.faults[4]: is of 2 kinds: fileError and netLoss; make it one fault for each
spec.faults[4].fileError.errno: is missing; say errno: EIO
spec.faults[4].fileError.ops: is the text 'open' instead of a list; such as ops: [open]
spec.faults[4].after: is empty; such as after: 10s
spec.faults[5]: says no kind of fault; there are clockFreeze, clockOffset, clockSpeed, clockStep, diskError, diskFull, diskLimit, diskQuota, diskReadonly, dnsAnswer, dnsDelay, dnsError, fileDelay, fileError, memMmap, memPage, memSlab, netConnect, netDown, netLink, netLoss, netPartition, netReset, pressureCpu, syscallDelay, syscallError and syscallReturn";
        assert_eq!(refused(file), expected);
    }

    #[test]
    fn fields_in_the_wrong_place() {
        assert_eq!(
            refused("name: a\nduration: 3m\nafter: 1s\nprobability: 5%\nshare: 5%\n"),
            "\
name: does not belong here; it is metadata.name
duration: does not belong here; it is spec.duration
after: does not belong here; it is spec.faults[N].after
probability: does not belong here; it is spec.faults[N].<kind>.probability
share: does not belong here; it is spec.faults[N].netLoss.share
apiVersion: is missing; say apiVersion: kchaos.dev/v1alpha1
kind: is missing; say kind: FaultExperiment
metadata.name: is missing; say metadata: {name: pg-fsync}
spec: is missing; it says what is hit, for how long and how"
        );
    }

    #[test]
    fn odd_keys() {
        let file = format!("{START}{HEAD}{TARGET}{DURATION}  faults:\n{FAULT}");
        let fields = "fields here: apiVersion, kind, metadata, spec";
        assert_eq!(
            refused(format!("{file}kind: FaultExperiment\n3: x\n[a]: x\n")),
            format!(
                "kind: is given twice; give it once\n\
                 a key is the number 3 instead of a word; {fields}\n\
                 a key is a list instead of a word; {fields}"
            )
        );
    }

    #[test]
    fn values_of_the_wrong_type() {
        let fault = "
  - fileError:
      ops: []
      errno: 5
      path: 5
      includeExec: 1
      when: 0
      times: '3'
      seed: 1.5
      shadow: yes
      mechanism: cgroup-skb
    duration: 0s
    after: 40d
";
        let field = "spec.faults[0]";
        assert_eq!(
            faults_refused(fault),
            format!(
                "\
{field}.fileError.ops: is empty; such as ops: [open]
{field}.fileError.errno: '5' is not the name of an errno; say EIO
{field}.fileError.path: '5' is not an absolute path; begin with a slash
{field}.fileError.includeExec: is the number 1 instead of true or false; such as includeExec: true
{field}.fileError.when: '0' counts from 0; events are counted from 1: the first is 1
{field}.fileError.times: is the text '3' instead of a whole number; leave the quotes out
{field}.fileError.seed: '1.5' is not a whole number; say one in digits, such as 3
{field}.fileError.shadow: is the text 'yes' instead of true or false; such as shadow: true
{field}.after: '40d' is too long; say at most 30d
{field}.duration: is zero; say how long the fault lives, such as 30s
{field}.fileError.mechanism: cgroup-skb can't do file.error; say lsm or fmod-ret"
            )
        );
    }

    #[test]
    fn bad_targets() {
        let target = |target: &str| {
            refused(format!(
                "{START}{HEAD}  target: {target}\n{DURATION}  faults:\n{FAULT}"
            ))
        };
        for (text, message) in [
            (
                "",
                "spec.target: is empty; its fields: cgroup, cgroups, unit, pid, command",
            ),
            (
                "{}",
                "spec.target: names nothing; say one of cgroup, cgroups, unit, pid or command",
            ),
            (
                "nginx",
                "spec.target: is the text 'nginx' instead of a mapping; its fields: cgroup, cgroups, unit, pid, command",
            ),
            (
                "{pods: {}}",
                "spec.target.pods: is not in this version; fields here: cgroup, cgroups, unit, pid, command",
            ),
            (
                "{unti: a}",
                "spec.target.unti: unknown field; did you mean unit?",
            ),
            (
                "{unit: nginx}",
                "spec.target.unit: 'nginx' is not the full name of a unit; say its suffix: .service, .scope or .slice",
            ),
            (
                "{unit: 5}",
                "spec.target.unit: is the number 5 instead of a text; put it in quotes",
            ),
            (
                "{pid: '17'}",
                "spec.target.pid: is the text '17' instead of a whole number; leave the quotes out",
            ),
            (
                "{pid: 99999999999}",
                "spec.target.pid: 99999999999 is not a pid of a process; say a number from 2 to 4194304",
            ),
            (
                "{pid: 0}",
                "spec.target.pid: 0 is not a pid of a process; say a number from 2 to 4194304",
            ),
            (
                "{cgroup: /sys/fs/cgroup/a}",
                "spec.target.cgroup: '/sys/fs/cgroup/a' has the mount point in it; say /a",
            ),
            (
                "{cgroup: /}",
                "spec.target.cgroup: '/' is the whole machine; name a cgroup below it, such as /system.slice/nginx.service",
            ),
            (
                "{cgroup: /sys/fs/cgroup/unified/a}",
                "spec.target.cgroup: '/sys/fs/cgroup/unified/a' has the mount point in it; say /a",
            ),
            (
                "{cgroups: [/a/b, /c, /a]}",
                "spec.target.cgroups: '/a/b' lies in '/a'; leave it out: a cgroup is hit with its subtree",
            ),
            (
                "{cgroups: [/a, /a]}",
                "spec.target.cgroups: '/a' lies in '/a'; leave it out: a cgroup is hit with its subtree",
            ),
            (
                "{cgroups: [/a]}",
                "spec.target.cgroups: names 1 cgroups; say several, or one as cgroup",
            ),
            (
                "{cgroups: /a}",
                "spec.target.cgroups: is the text '/a' instead of a list; say their paths: [/web.slice/a, /web.slice/b]",
            ),
            (
                "{command: [cat]}",
                "spec.target.command: only `kchaos run` starts a command; use that, or name a cgroup, a unit or a pid",
            ),
            (
                "{command: cat}",
                "spec.target.command: is the text 'cat' instead of a list; say the program and its arguments: [cat, /etc/hosts]",
            ),
        ] {
            assert_eq!(target(text), message);
        }
    }

    #[test]
    fn too_many_and_too_few_faults() {
        // Those of system calls have several places.
        const CALL: &str = "  - syscallError: {ops: [fsync], errno: EIO}\n";
        assert_eq!(
            faults_refused(&CALL.repeat(65)),
            "spec.faults: has 65 faults; say at most 64"
        );
        assert_eq!(
            faults_refused(&FAULT.repeat(10)),
            "spec.faults[8]: is one too many: a target can have 8 faults of file.error at a time; leave \
             it out, or give it another target"
        );
        assert!(
            yaml::parse(
                format!(
                    "{START}{HEAD}{TARGET}{DURATION}  faults:\n{}",
                    FAULT.repeat(8) + &CALL.repeat(56)
                )
                .as_bytes()
            )
            .is_ok()
        );
        let file = format!("{START}{HEAD}{TARGET}{DURATION}");
        assert_eq!(
            refused(&file),
            "spec.faults: has no fault; say at least one"
        );
        assert_eq!(
            refused(format!("{file}  faults: {{a: b}}\n")),
            "spec.faults: is a mapping instead of a list; begin each fault with '- '"
        );
    }

    #[test]
    fn what_would_fill_a_screen_is_counted() {
        let fields: String = (0..5000).map(|i| i.to_string() + "x: 1\n").collect();
        let message = refused(format!("{START}{fields}"));
        assert_eq!(message.lines().count(), 101);
        assert!(message.ends_with("\nand 4902 more"), "{message}");
    }
}
