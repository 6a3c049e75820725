//! What the documentation shows is true.

#[cfg(test)]
mod tests {
    use chaos_userspace::experiment::{word, yaml};

    const FILES: &str = include_str!("../../docs/experiments.md");
    const WORDS: &str = include_str!("../../docs/fault-words.md");

    /// The text of the first code block after `start`.
    fn block<'a>(page: &'a str, start: &str) -> &'a str {
        let (_, rest) = page.split_once(start).unwrap();
        let (_, rest) = rest.split_once('\n').unwrap();
        rest.split_once("```").unwrap().0
    }

    #[test]
    fn the_example_file_is_good() {
        let text = block(FILES, "```yaml");
        let experiment = yaml::parse(text.as_bytes()).unwrap();
        assert_eq!(yaml::format(&experiment), text);
    }

    #[test]
    fn the_example_words_are_good() {
        let (_, table) = WORDS.split_once("| Word | Means |").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let words: Vec<&str> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
            .map(|(word, _)| word)
            .collect();
        assert!(words.len() > 5);
        for text in words {
            assert_eq!(word::format(&word::parse(text).unwrap()), text);
        }
        let fault = word::parse("file.error:open=EIO@5%,path=/data/").unwrap();
        assert_eq!(yaml::format_fault(&fault), block(WORDS, "```yaml"));
    }

    #[test]
    fn the_short_words_are_the_same_as_is_said() {
        let (_, table) = WORDS.split_once("| Short word | The same as |").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let pairs: Vec<(&str, &str)> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.strip_suffix("` |"))
            .filter_map(|line| line.split_once("` | `"))
            .collect();
        assert!(pairs.len() > 5);
        for (short, long) in pairs {
            assert_eq!(word::format(&word::parse(short).unwrap()), long);
        }
    }

    #[test]
    fn the_example_errors_are_what_is_said() {
        let (_, page) = WORDS.split_once("## What is said").unwrap();
        let text = block(page, "```");
        let word = text.lines().next().unwrap();
        assert_eq!(word::render(word, &word::parse(word).unwrap_err()), text);

        let file = "
apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {name: a}
spec:
  target: {cgroup: /a, pid: 17}
  duration: 3m
  faults:
  - fileError: {ops: [open], errno: EIO, pth: /x}
  - fileError: {ops: [open], errno: EFOO}
    duration: 10
";
        let (_, page) = FILES.split_once("## What is said").unwrap();
        let said = yaml::parse(file.as_bytes()).unwrap_err().to_string();
        assert_eq!(said + "\n", block(page, "```"));
    }
}
