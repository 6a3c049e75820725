//! The two forms are equal, and neither panics.

use proptest::prelude::*;

use super::{
    Complete, Experiment, Fault,
    strategies::{experiment, fault},
    word, yaml,
};

/// A file that holds just this fault.
fn file_of(fault: Fault) -> Experiment {
    Experiment {
        name: "one".to_owned(),
        target: None,
        duration: None,
        seed: None,
        faults: vec![fault],
        checks: Vec::new(),
    }
}

/// A character that means something in a word or in a file, or any other.
fn odd_char() -> impl Strategy<Value = char> {
    prop_oneof![
        proptest::sample::select(
            "=@,:+\\%/.-&*!|>'\"{}[]#? \n\tä漢\0"
                .chars()
                .collect::<Vec<_>>()
        ),
        any::<char>(),
    ]
}

/// `text` with some characters replaced, removed or added.
fn mutated(text: &str, edits: &[(prop::sample::Index, u8, char)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, what, c) in edits {
        let at = at.index(chars.len() + 1);
        match what % 3 {
            0 if at < chars.len() => chars[at] = *c,
            1 if at < chars.len() => drop(chars.remove(at)),
            _ => chars.insert(at, *c),
        }
    }
    chars.into_iter().collect()
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, char)>> {
    prop::collection::vec(
        (any::<prop::sample::Index>(), any::<u8>(), odd_char()),
        1..6,
    )
}

/// Every violation of a word says where, and can be shown.
fn check_word(text: &str) -> Result<(), TestCaseError> {
    match word::parse(text) {
        Ok(fault) => prop_assert_eq!(word::parse(&word::format(&fault)), Ok(fault)),
        Err(violations) => {
            for violation in &violations {
                let span = violation.span.clone();
                prop_assert!(span.is_some(), "{}", violation);
                prop_assert!(
                    text.get(span.unwrap_or_default()).is_some(),
                    "{}",
                    violation
                );
            }
            prop_assert!(word::render(text, &violations).contains('^'));
        }
    }
    Ok(())
}

fn check_file(bytes: &[u8]) -> Result<(), TestCaseError> {
    match yaml::parse(bytes) {
        Ok(experiment) => {
            let again = yaml::format(&experiment);
            prop_assert_eq!(yaml::parse(again.as_bytes()), Ok(experiment));
        }
        Err(violations) => prop_assert!(!violations.to_string().is_empty()),
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_word_comes_back(fault in fault()) {
        let text = word::format(&fault);
        prop_assert_eq!(word::parse(&text), Ok(fault), "{}", text);
    }

    #[test]
    fn a_file_comes_back(experiment in experiment()) {
        prop_assert_eq!(experiment.validate(Complete::File), Ok(()));
        let text = yaml::format(&experiment);
        prop_assert_eq!(yaml::parse(text.as_bytes()), Ok(experiment), "{}", text);
    }

    #[test]
    fn a_word_is_the_same_through_a_file(fault in fault()) {
        let text = word::format(&fault);
        let file = yaml::format(&file_of(word::parse(&text).unwrap()));
        let back = yaml::parse_for(file.as_bytes(), Complete::Run).unwrap();
        prop_assert_eq!(word::format(&back.faults[0]), text);
        prop_assert_eq!(back, file_of(fault));
    }

    #[test]
    fn bad_words_are_shown(fault in fault(), edits in edits()) {
        check_word(&mutated(&word::format(&fault), &edits))?;
    }

    #[test]
    fn any_text_as_a_word(text in prop::collection::vec(odd_char(), 0..40)) {
        check_word(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn bad_files_are_told(experiment in experiment(), edits in edits()) {
        check_file(mutated(&yaml::format(&experiment), &edits).as_bytes())?;
    }

    #[test]
    fn any_bytes_as_a_file(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_file(&bytes)?;
    }

    #[test]
    fn any_text_as_a_file(text in prop::collection::vec(odd_char(), 0..200)) {
        check_file(text.into_iter().collect::<String>().as_bytes())?;
    }
}
