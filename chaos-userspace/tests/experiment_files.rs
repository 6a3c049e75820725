//! Good files: what they mean, and how they are written.

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chaos_userspace::experiment::{
        Common, Complete, Direction, Errno, Experiment, Fault, FaultKind, FileError, FileOp,
        Mechanism, NetLoss, PathFilter, Pulse, Target, Traffic, When, word, yaml,
    };

    const FILE: &str = r#"apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata:
  name: pg-files
spec:
  target:
    unit: postgresql@15-main.service
  duration: 3m
  seed: 42
  faults:
  - id: open
    fileError:
      ops: [open]
      errno: EIO
      path: /var/lib/postgresql/
      includeExec: true
      probability: 5%
      when: "3..9+2"
      times: 10
      seed: 7
      shadow: true
      mechanism: fmod-ret
  - id: net.loss
    target:
      cgroup: "/a/b c"
    after: 10s
    duration: 1m30s
    pulse: 2s/10s
    netLoss:
      share: 12.5%
      direction: ingress
"#;

    fn experiment() -> Experiment {
        Experiment {
            name: "pg-files".to_owned(),
            target: Some(Target::Unit("postgresql@15-main.service".to_owned())),
            duration: Some(Duration::from_mins(3)),
            seed: Some(42),
            faults: vec![
                Fault {
                    id: "open".to_owned(),
                    target: None,
                    kind: FaultKind::FileError(FileError {
                        ops: vec![FileOp::Open],
                        errno: Errno::EIO,
                        path: Some(PathFilter::Subtree("/var/lib/postgresql/".to_owned())),
                        include_exec: true,
                    }),
                    common: Common {
                        probability: Some("5%".parse().unwrap()),
                        when: Some(When {
                            first: 3,
                            last: Some(9),
                            step: 2,
                        }),
                        times: Some(10),
                        seed: Some(7),
                        shadow: true,
                        mechanism: Some(Mechanism::FmodRet),
                        ..Common::default()
                    },
                },
                Fault {
                    id: "net.loss".to_owned(),
                    target: Some(Target::Cgroup("/a/b c".to_owned())),
                    kind: FaultKind::NetLoss(NetLoss {
                        share: "12.5%".parse().unwrap(),
                        traffic: Traffic {
                            direction: Direction::Ingress,
                            ..Traffic::default()
                        },
                    }),
                    common: Common {
                        duration: Some(Duration::from_secs(90)),
                        after: Some(Duration::from_secs(10)),
                        pulse: Some(Pulse {
                            active: Duration::from_secs(2),
                            every: Duration::from_secs(10),
                        }),
                        ..Common::default()
                    },
                },
            ],
            checks: Vec::new(),
        }
    }

    #[test]
    fn a_file_with_everything() {
        assert_eq!(yaml::parse(FILE.as_bytes()), Ok(experiment()));
        assert_eq!(yaml::format(&experiment()), FILE);
    }

    #[test]
    fn the_faults_of_it_as_words() {
        let words = experiment()
            .faults
            .iter()
            .map(word::format)
            .collect::<Vec<_>>();
        assert_eq!(
            words,
            [
                "file.error:open=EIO@5%,path=/var/lib/postgresql/,includeExec=true,when=3..9+2,\
                 times=10,seed=7,shadow=true,mechanism=fmod-ret",
                "net.loss=12.5%,direction=ingress,after=10s,duration=1m30s,pulse=2s/10s",
            ]
        );
    }

    #[test]
    fn faults_without_ids_get_the_kind_s_name() {
        let fault = "  - fileError: {ops: [open], errno: EIO}\n";
        let file = format!(
            "apiVersion: kchaos.dev/v1alpha1\nkind: FaultExperiment\nmetadata: {{name: a}}\n\
             spec:\n  target: {{pid: 17}}\n  duration: 1s\n  faults:\n{fault}{fault}    id: file.error-2\n{fault}"
        );
        let ids: Vec<String> = yaml::parse(file.as_bytes())
            .unwrap()
            .faults
            .into_iter()
            .map(|f| f.id)
            .collect();
        assert_eq!(ids, ["file.error", "file.error-2", "file.error-3"]);
    }

    #[test]
    fn natural_ways_of_writing_are_read() {
        let read = |when: &str| {
            let file = format!(
                "%YAML 1.2\n--- # a comment\napiVersion: kchaos.dev/v1alpha1\n\
                 kind: \"FaultExperiment\"\nmetadata: {{name: 'a'}}\nspec:\n  faults:\n    \
                 - fileError: {{ops: [\"open\"], errno: 'EIO', when: {when}, path: \"/d\\u00e4\"}}\n...\n"
            );
            let mut experiment = yaml::parse_for(file.as_bytes(), Complete::Run).unwrap();
            experiment.faults.remove(0).common.when.unwrap().to_string()
        };
        for (text, when) in [
            ("3", "3"),
            ("\"3\"", "3"),
            ("3+", "3+"),
            ("3..9", "3..9"),
            ("'3+2'", "3+2"),
        ] {
            assert_eq!(read(text), when);
        }
        let crlf = FILE.replace('\n', "\r\n");
        assert_eq!(yaml::parse(crlf.as_bytes()), Ok(experiment()));
        let marked = format!("\u{feff}{FILE}");
        assert_eq!(yaml::parse(marked.as_bytes()), Ok(experiment()));
    }

    #[test]
    fn a_command_is_a_target_of_run_alone() {
        let experiment = Experiment {
            target: Some(Target::Command(vec![
                "cat".to_owned(),
                "no: \"x\"".to_owned(),
            ])),
            ..experiment()
        };
        let text = yaml::format(&experiment);
        assert!(
            text.contains("    command: [cat, \"no: \\\"x\\\"\"]\n"),
            "{text}"
        );
        assert_eq!(
            yaml::parse_for(text.as_bytes(), Complete::Run),
            Ok(experiment)
        );
        assert!(yaml::parse(text.as_bytes()).is_err());
    }
}
