//! The places of a kind, in the order of "How to add a fault" in CONTRIBUTING.md: files of its own,
//! and edits of shared ones at their anchors.
//!
//! As its only field the kind has a `share`, which holds the place of what a person decides. What is
//! scaffolded compiles, and every way of doing it is refused.

use super::{kind::Kind, tree::Tree};

const PROTO: &str = "proto/kchaos/v1/experiment.proto";
const MODEL: &str = "chaos-userspace/src/experiment/mod.rs";
/// Where the kinds are declared.
const KEYS: &str = "chaos-userspace/src/experiment/keys.rs";
const SET: &str = "chaos-userspace/src/experiment/set.rs";
const VALIDATE: &str = "chaos-userspace/src/experiment/validate.rs";
const WORD: &str = "chaos-userspace/src/experiment/word/format.rs";
const YAML: &str = "chaos-userspace/src/experiment/yaml/format.rs";
const STRATEGIES: &str = "chaos-userspace/src/experiment/strategies.rs";
const FROM_WIRE: &str = "chaos-userspace/src/api/experiment/from_wire.rs";
const TO_WIRE: &str = "chaos-userspace/src/api/experiment/to_wire.rs";
const RULE: &str = "chaos-common/src/rule.rs";
const OBJECT: &str = "chaos-userspace/src/engine/object.rs";
const HOOKS: &str = "chaos-userspace/src/engine/hooks.rs";
const TRAIL: &str = "chaos-userspace/src/node/trail.rs";
const FAULT: &str = "chaos-userspace/src/fault/mod.rs";
const SELF_TEST: &str = "chaos-userspace/src/support/self_test.rs";
const DOCTOR: &str = "chaos-userspace/src/cli/doctor.rs";

const PROGRAM_TASK: &str = include_str!("templates/program_task.rs");
const PROGRAM_PACKET: &str = include_str!("templates/program_packet.rs");
const FAULT_PROGRAM: &str = include_str!("templates/fault_program.rs");
const FAULT_KNOB: &str = include_str!("templates/fault_knob.rs");
const LAB_TEST: &str = include_str!("templates/lab_test.rs");
const EXAMPLE: &str = include_str!("templates/example.yaml");
const PAGE: &str = include_str!("templates/page.md");

/// All of them.
pub(super) fn make(kind: &Kind, tree: &mut Tree<'_>) {
    wire(tree);
    model(tree);
    forms(kind, tree);
    conversion(tree);
    if kind.has_program() {
        hook(kind, tree);
    }
    compilation(kind, tree);
    if kind.has_program() {
        program(kind, tree);
        engine(tree);
    }
    command_line(tree);
    tree.create("tests/tests/@stem@.rs", LAB_TEST);
    documents(tree);
}

fn wire(tree: &mut Tree<'_>) {
    let number = tree.next_number(PROTO, "  oneof kind {");
    tree.end_of(
        PROTO,
        "  oneof kind {",
        &format!("    // `@name@`: @mark@: what happens.\n    @Type@ @stem@ = {number};\n"),
    );
    tree.before(
        PROTO,
        "// Direction of packets, seen from the target.\nenum Direction {",
        "// `@name@`: @mark@: what happens.\nmessage @Type@ {\n  \
         // @mark@: the kind's own fields; this one holds their place.\n  Share share = 1;\n}\n\n",
    );
}

fn model(tree: &mut Tree<'_>) {
    tree.end_of(
        MODEL,
        "pub enum FaultKind {",
        "    /// `@name@`: @mark@: what happens.\n    @Type@(@Type@),\n",
    );
    tree.before(
        MODEL,
        "/// Direction of packets, seen from the target.\n#[derive",
        "/// `@name@`\n#[derive(Clone, Debug, PartialEq, Eq)]\npub struct @Type@ {\n    \
         /// @mark@: the kind's own fields; this one holds their place.\n    pub share: Share,\n}\n\n",
    );
    tree.end_of(
        MODEL,
        "match self {\n            Self::FileError(_) =>",
        "            Self::@Type@(_) => \"@name@\",\n",
    );

    tree.within(KEYS, "use super::{", "FaultKind,", "@Type@, ");
    tree.count(KEYS, "static KINDS: [Kind; ", 1);
    tree.end_of(
        KEYS,
        "static KINDS: [Kind; ",
        "    // @mark@: its keys, an example, its mechanisms.\n    Kind {\n        \
         name: \"@name@\",\n        block: \"@block@\",\n        what: None,\n        \
         effect: Some(\"share\"),\n        own: &[],\n        \
         required: &[key(\"share\", Type::Text, \"10%\")],\n        example: \"@name@=10%\",\n        \
         mechanisms: &[Mechanism::@Mechanism@],\n        \
         blank: || FaultKind::@Type@(@Type@ { share: Share::ALL }),\n    },\n",
    );
    if tree.take_out(KEYS, "    \"@name@\",\n") {
        tree.count(KEYS, "const PLANNED_KINDS: [&str; ", -1);
    }
    tree.before(
        SET,
        "            (\"probability\", _) => {",
        "            (\"share\", FaultKind::@Type@(fault)) => fault.share = text.parse()?,\n",
    );
}

fn forms(kind: &Kind, tree: &mut Tree<'_>) {
    tree.before(
        VALIDATE,
        "FaultKind::PressureCpu(_) => {}",
        "// @mark@: its own rules.\n            FaultKind::@Type@(_) | ",
    );
    tree.within(
        VALIDATE,
        "fn check_target(&self, target: &Target)",
        "_ => Ok(()),",
        "// @mark@: the targets that it can't hit, such as pids.\n            ",
    );
    if kind.is_packets() {
        tree.within(
            VALIDATE,
            "fn of_no_task(&self)",
            "Self::NetDown(_)",
            "Self::@Type@(_) | ",
        );
        tree.within(
            STRATEGIES,
            "fn common(",
            "FaultKind::NetLoss(_)",
            "FaultKind::@Type@(_) | ",
        );
    }
    tree.end_of(
        WORD,
        "match &fault.kind {\n        FaultKind::FileError(file) => {\n            let ops",
        "        FaultKind::@Type@(kind) => out.push('=', &kind.share),\n",
    );
    tree.join(WORD, "FaultKind::PressureCpu(_)", "FaultKind::@Type@(_)");
    tree.end_of(
        YAML,
        "match &fault.kind {\n        FaultKind::FileError(file) => {",
        "        FaultKind::@Type@(kind) => out.option(4, \"share\", Some(kind.share)),\n",
    );
    tree.within(STRATEGIES, "use super::{", "FaultKind,", "@Type@, ");
    tree.before(
        STRATEGIES,
        "    let net = prop_oneof![\n",
        "    // @mark@: what its rules refuse must not be drawn.\n    let @stem@ = share()\n        \
         .prop_map(|share| FaultKind::@Type@(@Type@ { share }))\n        \
         .prop_flat_map(|kind| common(option::of(share()).boxed(), kind));\n",
    );
    tree.after(STRATEGIES, "file.boxed(),", " @stem@.boxed(),");
}

fn conversion(tree: &mut Tree<'_>) {
    tree.within(FROM_WIRE, "use crate::{", "FaultKind,", "@Type@, ");
    tree.before(
        FROM_WIRE,
        "            None => {\n                self.bad(\n                    field,\n",
        "            Some(Wire::@Type@(wire)) => {\n                \
         let inside = format!(\"{field}.@block@\");\n                \
         let kind = FaultKind::@Type@(self.@stem@(&inside, wire));\n                \
         (kind, self.common(field, &inside, &common))\n            }\n",
    );
    tree.after(FROM_WIRE, "has no kind; say one of ", "@block@, ");
    tree.before(
        FROM_WIRE,
        "    pub(super) fn share(&mut self, field: &str, wire: proto::Share)",
        "    fn @stem@(&mut self, field: &str, wire: proto::@Type@) -> @Type@ {\n        \
         let share = if let Some(share) = wire.share {\n            \
         self.share(&format!(\"{field}.share\"), share)\n        } else {\n            \
         self.bad(&format!(\"{field}.share\"), \"is missing\");\n            Share::ALL\n        \
         };\n        @Type@ { share }\n    }\n\n",
    );
    tree.within(TO_WIRE, "use crate::{", "FaultKind,", "@Type@, ");
    tree.end_of(
        TO_WIRE,
        "kind: Some(match &fault.kind {",
        "                FaultKind::@Type@(kind) => Wire::@Type@(kind.into()),\n",
    );
    tree.before(
        TO_WIRE,
        "impl From<Share> for proto::Share {",
        "impl From<&@Type@> for proto::@Type@ {\n    fn from(kind: &@Type@) -> Self {\n        \
         Self {\n            share: Some(kind.share.into()),\n        }\n    }\n}\n\n",
    );
}

fn hook(kind: &Kind, tree: &mut Tree<'_>) {
    let number = tree.next_number(RULE, "pub enum Hook {");
    tree.end_of(
        RULE,
        "pub enum Hook {",
        &format!(
            "    /// @mark@: which events; one hook for each mechanism.\n    @Type@ = {number},\n"
        ),
    );
    if kind.is_packets() {
        tree.before(RULE, "Self::NetEgressSkb", "Self::@Type@ | ");
        tree.count(TRAIL, "const OF_PACKETS: [Hook; ", 1);
        tree.before(TRAIL, "Hook::NetEgressSkb", "Hook::@Type@, ");
    }
}

fn program(kind: &Kind, tree: &mut Tree<'_>) {
    let program = if kind.is_packets() {
        PROGRAM_PACKET
    } else {
        PROGRAM_TASK
    };
    tree.create("chaos-ebpf/src/bin/@stem@.rs", program);
    tree.before(
        "chaos-ebpf/Cargo.toml",
        "[lints]\n",
        "[[bin]]\nname = \"@stem@\"\ntest = false\n\n",
    );
}

fn engine(tree: &mut Tree<'_>) {
    let build = "chaos-userspace/build.rs";
    tree.count(build, "const OBJECTS: [&str; ", 1);
    tree.after(build, "\"file_error\",", " \"@stem@\",");
    tree.end_of(
        OBJECT,
        "pub enum Object {",
        "    /// `@name@`\n    @Type@,\n",
    );
    tree.before(
        OBJECT,
        "impl Object {",
        "static @CONSTANT@: &[u8] = aya::include_bytes_aligned!(concat!(env!(\"OUT_DIR\"), \
         \"/@stem@.o\"));\n\n",
    );
    tree.end_of(
        OBJECT,
        "match self {\n            Self::FileError => \"file_error\"",
        "            Self::@Type@ => \"@stem@\",\n",
    );
    tree.before(
        OBJECT,
        "        matches!(\n            self,\n            Self::FileError",
        "        // @mark@: add @Type@ if its programs read fields of the kernel.\n",
    );
    tree.end_of(
        OBJECT,
        "let bytes = match self {",
        "            Self::@Type@ => @CONSTANT@,\n",
    );
    tree.before(
        HOOKS,
        "            _ => {\n                return Err(EngineError::Refused {",
        "            // @mark@: an arm of @Type@ that attaches its programs; until then it is \
         refused.\n",
    );
    tree.end_of(
        HOOKS,
        "match (object, mechanism) {\n        (Object::FileError, Mechanism::FmodRet) => Hook::",
        "        (Object::@Type@, _) => Hook::@Type@,\n",
    );
    tree.end_of(
        SELF_TEST,
        ".and_then(|()| match object {",
        "            // @mark@: that the target is hit, and nobody else.\n            \
         Object::@Type@ => Err(\"self-test: there is none of @name@ yet\".to_owned()),\n",
    );
    tree.join(SELF_TEST, "Object::NetLoss", "Object::@Type@");
    // What its rule is about: nothing that is numbered.
    tree.before(SELF_TEST, "Object::NetLoss => None", "Object::@Type@ | ");
}

fn compilation(kind: &Kind, tree: &mut Tree<'_>) {
    let own = if kind.has_program() {
        FAULT_PROGRAM
    } else {
        FAULT_KNOB
    };
    tree.create("chaos-userspace/src/fault/@stem@.rs", own);
    tree.before(FAULT, "mod file_error;\n", "mod @stem@;\n");
    tree.end_of(
        FAULT,
        "match kind {\n        FaultKind::FileDelay(_) | FaultKind::FileError(_) => file_error::LADDER",
        "        FaultKind::@Type@(_) => @stem@::LADDER,\n",
    );
    // Where kinds that lack something stand together: in knob, in covers, in those of calls.
    tree.join(FAULT, "FaultKind::DiskError(_)", "FaultKind::@Type@(_)");
    tree.end_of(
        FAULT,
        "let rows = match kind {",
        "        FaultKind::@Type@(_) => @stem@::NOT_COVERED,\n",
    );
    if kind.has_program() {
        tree.end_of(
            FAULT,
            "match kind {\n        // One object each",
            "        FaultKind::@Type@(_) => Some(Object::@Type@),\n",
        );
        tree.end_of(
            FAULT,
            "let effect = match &fault.kind {",
            "        FaultKind::@Type@(kind) => @stem@::effect(kind),\n",
        );
    } else {
        tree.within(
            FAULT,
            "pub const fn object(",
            "FaultKind::PressureCpu(_)",
            "FaultKind::@Type@(_) | ",
        );
        tree.within(
            FAULT,
            "pub(crate) fn knob(",
            "match kind {",
            "// @mark@: what it wants in the control file; until then it is refused.\n    ",
        );
        tree.within(
            FAULT,
            "let effect = match &fault.kind {",
            "FaultKind::PressureCpu(_)",
            "FaultKind::@Type@(_) | ",
        );
    }
}

fn command_line(tree: &mut Tree<'_>) {
    tree.count(DOCTOR, "const EXAMPLES: [(&str, &str); ", 1);
    tree.end_of(
        DOCTOR,
        "const EXAMPLES: [(&str, &str); ",
        "    // @mark@: a command that it hits.\n    (\"@name@=10%\", \"true\"),\n",
    );
}

fn documents(tree: &mut Tree<'_>) {
    tree.create("docs/faults/@stem@.md", PAGE);
    let files = "docs/experiments.md";
    tree.before(
        files,
        "`diskError`, `diskFull`, `diskLimit`, `diskQuota`, `diskReadonly`, `dnsAnswer`, \
         `dnsDelay`, `dnsError`, `fileDelay`",
        "`@block@`, ",
    );
    tree.before(
        files,
        "### Fields that each kind has in its block\n",
        "### `@block@`\n\n@mark@: what happens.\n\n| Field | Value | Default | Meaning |\n\
         |---|---|---|---|\n| `share` | share | required | @mark@: the kind's own fields |\n\n\
         Mechanism: `@mechanism@`.\n\n",
    );
    let words = "docs/fault-words.md";
    tree.column(
        words,
        "| Part | `file.error`",
        &[
            " `@name@` |",
            "---|",
            " none |",
            " `share`: @mark@ |",
            " @mark@ |",
        ],
    );
    tree.before(
        words,
        "\n## What strace understands",
        "| `@name@=10%` | @mark@: what that means |\n",
    );
    // It is planned no more, wherever in a line it stands.
    let _found = tree.take_out(words, "`@name@`, ")
        || tree.take_out(words, "`@name@`,\n")
        || tree.take_out(words, "`@name@`.");
    tree.create("examples/@stem@.yaml", EXAMPLE);
    tree.before(
        "README.md",
        "| `pressure.memory` |",
        "| [`@name@`](docs/faults/@stem@.md) | @mark@: what happens | @mark@: `@mechanism@` |\n",
    );
    tree.take_out("README.md", "`@name@`, ");
}
