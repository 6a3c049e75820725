//! The checks of an experiment.

use std::str::FromStr;

use super::{
    fields::{Level, fields},
    format::scalar,
    tree::Node,
    walk::Walk,
};
use crate::experiment::{
    Bound, Check, Counter, Moment,
    violation::{BadValue, Violation},
};

impl Walk {
    /// What of them can be read.
    pub(super) fn checks(&mut self, node: &Node<'_>) -> Vec<Check> {
        let Node::List(nodes) = node else {
            let remedy = "begin each check with '- '";
            self.wrong_type("spec.checks", node, "a list", remedy);
            return Vec::new();
        };
        let nodes = nodes.iter().enumerate();
        let checks: Vec<Option<Check>> = nodes
            .map(|(i, node)| self.check(&format!("spec.checks[{i}]"), node))
            .collect();
        // Without the ones that can't be read the others would have other numbers.
        checks
            .into_iter()
            .collect::<Option<_>>()
            .unwrap_or_default()
    }

    /// `None` where the rules have nothing to look at, which has been said.
    fn check(&mut self, path: &str, node: &Node<'_>) -> Option<Check> {
        let found = fields(node, path, Level::Check, &mut self.found);
        if !matches!(node, Node::Map(_)) {
            return None;
        }
        let id = self.wanted_text(&format!("{path}.id"), found.get("id"), "was-hit");
        let field = format!("{path}.evidence");
        let evidence = match found.get("evidence") {
            Some(node) => self.evidence(&field, node),
            None if found.has_unknown() => None,
            None => {
                self.push(path, "checks nothing", "say evidence: {fault: …, field: …}");
                None
            }
        };
        let pass = self.pass(&format!("{path}.pass"), found.get("pass"));
        let at = found.get("at").map_or_else(
            || Some(vec![Moment::After]),
            |node| self.moments(&format!("{path}.at"), node),
        );
        if let Some(node) = found.get("onFail") {
            self.on_fail(&format!("{path}.onFail"), node);
        }
        let (fault, field) = evidence?;
        Some(Check {
            id: id?,
            fault,
            field,
            pass: pass?,
            at: at?,
        })
    }

    /// What a number alone lacks is not its quotes.
    fn pass(&mut self, path: &str, node: Option<&Node<'_>>) -> Option<Bound> {
        if let Some(node @ Node::Number(number)) = node {
            let remedy = format!("such as \"== {number}\"");
            self.wrong_type(path, node, "a comparison", &remedy);
            return None;
        }
        self.wanted(path, node, "\"> 0\"")
    }

    fn evidence(&mut self, path: &str, node: &Node<'_>) -> Option<(String, Counter)> {
        let found = fields(node, path, Level::Evidence, &mut self.found);
        if !matches!(node, Node::Map(_)) {
            return None;
        }
        let fault = self.wanted_text(&format!("{path}.fault"), found.get("fault"), "fsync");
        let field = self.wanted(&format!("{path}.field"), found.get("field"), "injected");
        Some((fault?, field?))
    }

    /// A field that has to be there.
    fn wanted_text(
        &mut self,
        path: &str,
        node: Option<&Node<'_>>,
        example: &str,
    ) -> Option<String> {
        let Some(node) = node else {
            let key = path.rsplit('.').next().unwrap_or(path);
            self.push(path, "is missing", &format!("such as {key}: {example}"));
            return None;
        };
        self.text(path, node, example)
    }

    /// The same, as a value.
    fn wanted<T: FromStr<Err = BadValue>>(
        &mut self,
        path: &str,
        node: Option<&Node<'_>>,
        example: &str,
    ) -> Option<T> {
        let value = self.wanted_text(path, node, example)?.parse();
        value
            .map_err(|bad| self.found.push(Violation::of(path, bad)))
            .ok()
    }

    fn moments(&mut self, path: &str, node: &Node<'_>) -> Option<Vec<Moment>> {
        let Node::List(nodes) = node else {
            self.wrong_type(path, node, "a list", "such as at: [after]");
            return None;
        };
        let nodes = nodes.iter().enumerate();
        nodes
            .map(|(i, node)| self.wanted(&format!("{path}[{i}]"), Some(node), "after"))
            .collect()
    }

    fn on_fail(&mut self, path: &str, node: &Node<'_>) {
        match self.text(path, node, "fail").as_deref() {
            None | Some("fail") => {}
            Some("abort" | "record") => {
                self.push(path, "is not in this version", "say fail, the default");
            }
            Some(_) => self.push(path, "is no word for it", "say fail, the default"),
        }
    }
}

/// As an item of the list of checks, not indented.
pub(super) fn format_check(check: &Check) -> String {
    let moments: Vec<&str> = check.at.iter().map(|moment| moment.name()).collect();
    let Check {
        id,
        fault,
        field,
        pass,
        ..
    } = check;
    let at = if check.at == [Moment::After] {
        String::new()
    } else {
        format!("  at: [{}]\n", moments.join(", "))
    };
    let (id, fault) = (scalar(id), scalar(fault));
    format!(
        "- id: {id}\n  evidence:\n    fault: {fault}\n    field: {field}\n  pass: \"{pass}\"\n{at}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Bound, Comparison, yaml};

    const FILE: &str = "
apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {name: a}
spec:
  target: {cgroup: /a}
  duration: 1m
  faults:
  - {id: open, fileError: {ops: [open], errno: EIO}}
  checks:
";

    fn parse(checks: &str) -> Result<Vec<Check>, String> {
        let parsed = yaml::parse(format!("{FILE}{checks}").as_bytes());
        parsed
            .map(|experiment| experiment.checks)
            .map_err(|violations| violations.to_string())
    }

    #[test]
    fn a_check_is_read() {
        let text = "  - {id: hit, evidence: {fault: open, field: injected}, pass: '> 0'}\n  \
                    - {id: few, evidence: {fault: open, field: overBudget}, pass: '<= 3', \
                    at: [during, after], onFail: fail}\n";
        let check = |id: &str, field, comparison, value, at: &[Moment]| Check {
            id: id.to_owned(),
            fault: "open".to_owned(),
            field,
            pass: Bound { comparison, value },
            at: at.to_vec(),
        };
        let expected = vec![
            check(
                "hit",
                Counter::Injected,
                Comparison::Greater,
                0,
                &[Moment::After],
            ),
            check(
                "few",
                Counter::OverBudget,
                Comparison::AtMost,
                3,
                &Moment::ALL,
            ),
        ];
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn what_is_wrong_with_a_check_is_said_with_its_field() {
        for (check, said) in [
            (
                "{id: a, evidence: {fault: opn, field: injected}, pass: '> 0'}",
                "spec.checks[0].evidence.fault: 'opn' is the id of no fault; there are open",
            ),
            (
                "{id: a, evidence: {fault: open, field: hits}, pass: '> 0'}",
                "spec.checks[0].evidence.field: 'hits' is not counted",
            ),
            (
                "{id: a, evidence: {fault: open, field: injected}, pass: 'many'}",
                "spec.checks[0].pass: 'many' is no comparison with a number",
            ),
            (
                "{id: a, evidence: {fault: open, field: injected}, pass: 3}",
                "spec.checks[0].pass: is the number 3 instead of a comparison; such as \"== 3\"",
            ),
            (
                "{id: a, evidence: {fault: open, field: injected}, pass: '> 0', at: [before]}",
                "spec.checks[0].at[0]: before the faults nothing is counted; say during or after",
            ),
            (
                "{id: a, evidence: {fault: open, field: injected}, pass: '> 0', at: []}",
                "spec.checks[0].at: is empty; such as at: [after]",
            ),
            (
                "{id: a, evidence: {fault: open, field: injected}, pass: '> 0', onFail: abort}",
                "spec.checks[0].onFail: is not in this version; say fail, the default",
            ),
            (
                "{id: a, tcp: {address: '127.0.0.1:80'}, pass: connects}",
                "spec.checks[0].tcp: is not in this version",
            ),
            ("{id: a, pass: '> 0'}", "spec.checks[0]: checks nothing"),
            (
                "{evidence: {fault: open, field: injected}, pass: '> 0'}",
                "spec.checks[0].id: is missing; such as id: was-hit",
            ),
        ] {
            let error = parse(&format!("  - {check}\n")).unwrap_err();
            assert!(error.contains(said), "{error}\n{said}");
        }
        let twice = "  - {id: a, evidence: {fault: open, field: injected}, pass: '> 0'}\n";
        let error = parse(&twice.repeat(2)).unwrap_err();
        assert!(
            error.contains("spec.checks[1].id: 'a' is the id of a check already"),
            "{error}"
        );
    }
}
