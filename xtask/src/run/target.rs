//! Who is hit: read off the experiment's text, and changed there for the self-check.

use anyhow::{Result, bail};

/// The target's and the neighbour's cgroups.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cgroups {
    /// The one that the experiment names.
    pub(crate) target: String,
    /// The one beside it.
    pub(crate) neighbour: String,
}

impl Cgroups {
    /// Finds the target in an experiment. `kchaos` reads the file; this only has to find one word
    /// in it, and says so when it cannot.
    pub(crate) fn of(experiment: &str) -> Result<Self> {
        let paths: Vec<&str> = experiment.lines().filter_map(cgroup).collect();
        let [target] = paths[..] else {
            bail!(
                "this needs an experiment that names its target once, as `cgroup: /PATH`: both \
                 workloads are put into cgroups made for them (there are {} such lines)",
                paths.len()
            );
        };
        let Some((parent, name)) = target.rsplit_once('/') else {
            bail!("the cgroup '{target}' is not a path with a slash at its start");
        };
        let neighbour = if name == "neighbour" {
            "other-neighbour"
        } else {
            "neighbour"
        };
        Ok(Self {
            target: target.to_owned(),
            neighbour: format!("{parent}/{neighbour}"),
        })
    }

    /// The experiment with the neighbour as its target.
    pub(crate) fn swapped(&self, experiment: &str) -> String {
        let mut text = String::new();
        for line in experiment.lines() {
            if cgroup(line).is_some() {
                text.push_str(&line.replace(&self.target, &self.neighbour));
            } else {
                text.push_str(line);
            }
            text.push('\n');
        }
        text
    }
}

/// The value of `cgroup:` in a line, in block or flow style.
fn cgroup(line: &str) -> Option<&str> {
    let code = line.split(" #").next().unwrap_or_default();
    if code.trim_start().starts_with('#') {
        return None;
    }
    let (before, value) = code.split_once("cgroup:")?;
    if before.ends_with(|c: char| c.is_alphanumeric()) {
        return None;
    }
    let value = value.trim_start();
    let end = value.find([' ', ',', '}']).unwrap_or(value.len());
    Some(value[..end].trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_found_in_either_style_and_swapped() {
        for text in [
            "spec:\n  target:\n    cgroup: /a/b # cgroup: /c\n  duration: 8s\n",
            "# cgroup: /x\nspec:\n  target: {cgroup: \"/a/b\"}\n",
        ] {
            let cgroups = Cgroups::of(text).unwrap();
            assert_eq!(cgroups.target, "/a/b");
            assert_eq!(cgroups.neighbour, "/a/neighbour");
            let swapped = cgroups.swapped(text);
            assert_eq!(Cgroups::of(&swapped).unwrap().target, "/a/neighbour");
            assert_eq!(swapped.lines().count(), text.lines().count());
        }
    }

    #[test]
    fn no_target_or_two_are_refused() {
        for text in [
            "target: {unit: a.service}",
            "cgroup: /a\ncgroup: /b\n",
            "cgroup: a",
        ] {
            assert!(Cgroups::of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_example_has_one() {
        let text = include_str!("../../../examples/first-experiment.yaml");
        assert_eq!(Cgroups::of(text).unwrap().target, "/kchaos-demo/target");
    }
}
