//! Looks at the atomic instructions of built objects.
//!
//! rustc's relaxed atomics for BPF have been compiled to an add that fetches nothing, followed by
//! instructions that take its operand for the fetched value: a budget that never ends, in a program
//! that the verifier likes. The sources avoid them; this makes sure.

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _, SectionKind};

use super::instruction::{
    ALWAYS, CALL, CLASS, CLASS_ALU, CLASS_ALU64, CLASS_JUMP, CLASS_JUMP32, CLASS_LOAD, CLOBBERED,
    EXIT, FROM_REGISTER, INSTRUCTION, Instruction, LOAD_WIDE, MOVE, OPERATION,
};

/// What every program must have whose source says a word: that many instructions of a kind.
const EXPECTED: [(&str, Atomic, usize); 2] = [
    // The ordinal of `when` and the budget of `times`.
    ("plane::", Atomic::FetchAdd, 2),
    // The buffer is taken, and given back.
    ("scratch::", Atomic::Exchange, 2),
];

/// Atomics on 64 and 32 bits.
const ATOMIC: [u8; 2] = [0xdb, 0xc3];

/// What an atomic instruction does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Atomic {
    /// Changes the word and returns nothing.
    Plain,
    FetchAdd,
    /// Fetches, and does something else than adding.
    FetchOther,
    Exchange,
    CompareExchange,
}

/// What the instruction does, if it is an atomic one.
fn atomic(instruction: Instruction) -> Result<Option<Atomic>> {
    if !ATOMIC.contains(&instruction.opcode) {
        return Ok(None);
    }
    Ok(Some(match instruction.immediate {
        0x00 | 0x40 | 0x50 | 0xa0 => Atomic::Plain,
        0x01 => Atomic::FetchAdd,
        0x41 | 0x51 | 0xa1 => Atomic::FetchOther,
        0xe1 => Atomic::Exchange,
        0xf1 => Atomic::CompareExchange,
        other => bail!("atomic instruction with the unknown operation {other:#x}"),
    }))
}

/// Fails if the object has an atomic instruction whose operand is taken for what it fetched, or
/// lacks some that its source asks for.
pub(super) fn check(object: &[u8], source: &str) -> Result<()> {
    let file = object::File::parse(object).context("read the object")?;
    let mut found = Vec::new();
    for section in file.sections() {
        if section.kind() == SectionKind::Text {
            let code = section.data()?;
            let name = section.name()?;
            found.extend(check_code(code).with_context(|| format!("section {name}"))?);
        }
    }
    for (word, atomic, at_least) in EXPECTED {
        let there = found.iter().filter(|found| **found == atomic).count();
        if source.contains(word) && there < at_least {
            bail!(
                "{there} instructions of the kind {atomic:?}, not {at_least} as everything that \
                 uses `{word}` must have: the compiler made something else of them"
            );
        }
    }
    Ok(())
}

fn check_code(code: &[u8]) -> Result<Vec<Atomic>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(instruction) = code.get(at..).and_then(Instruction::read) {
        at += instruction.width();
        let Some(atomic) = atomic(instruction)? else {
            continue;
        };
        found.push(atomic);
        if atomic == Atomic::Plain && is_taken_for_fetched(&code[at..], instruction.source) {
            bail!(
                "the atomic instruction {} fetches nothing, but what follows computes with its \
                 operand r{} as if it did (use chaos-ebpf/src/atomics.rs)",
                at / INSTRUCTION - 1,
                instruction.source
            );
        }
    }
    Ok(found)
}

/// Whether the code that follows compares the register, or calculates with it, before it gets
/// another value. Copying it and adding it elsewhere is what compilers do with a constant.
fn is_taken_for_fetched(mut code: &[u8], register: u8) -> bool {
    let bit = |register: u8| 1_u16 << register;
    // Registers that hold the operand.
    let mut held = bit(register);
    while held != 0 {
        let Some(instruction) = Instruction::read(code) else {
            return false;
        };
        code = code.get(instruction.width()..).unwrap_or_default();
        let Instruction {
            opcode,
            destination,
            source,
            immediate,
            ..
        } = instruction;
        let by_register = opcode & FROM_REGISTER != 0;
        let reads = held & bit(destination) != 0 || (by_register && held & bit(source) != 0);
        match (opcode & CLASS, opcode & OPERATION) {
            (CLASS_ALU | CLASS_ALU64, MOVE) => {
                if by_register && held & bit(source) != 0 {
                    held |= bit(destination);
                } else {
                    held &= !bit(destination);
                }
            }
            (CLASS_JUMP, ALWAYS | EXIT) => return false,
            (CLASS_JUMP, CALL) => held &= !CLOBBERED,
            (CLASS_ALU | CLASS_ALU64 | CLASS_JUMP | CLASS_JUMP32, _) if reads => return true,
            (CLASS_LOAD, _) => held &= !bit(destination),
            _ if opcode == LOAD_WIDE => held &= !bit(destination),
            // The fetched value replaces the operand.
            _ if ATOMIC.contains(&opcode) && immediate & 1 != 0 => held &= !bit(source),
            _ => (),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_IN_R1: [u8; 8] = [0xb7, 0x01, 0, 0, 1, 0, 0, 0];
    const ADD_R1_TO_R2: [u8; 8] = [0xdb, 0x12, 0, 0, 0, 0, 0, 0];
    const FETCH_ADD_R1_TO_R2: [u8; 8] = [0xdb, 0x12, 0, 0, 1, 0, 0, 0];
    const EXCHANGE_R1_AT_R2: [u8; 8] = [0xdb, 0x12, 0, 0, 0xe1, 0, 0, 0];
    const COPY_R1_TO_R3: [u8; 8] = [0xbf, 0x13, 0, 0, 0, 0, 0, 0];
    const R3_PLUS_ONE: [u8; 8] = [0x07, 0x03, 0, 0, 1, 0, 0, 0];
    const SKIP_IF_R1_GREATER_R4: [u8; 8] = [0x2d, 0x41, 1, 0, 0, 0, 0, 0];
    const EXIT_: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

    /// An object file with one section of code.
    fn object(code: &[u8]) -> Vec<u8> {
        const NAMES: &[u8] = b"\0.shstrtab\0classifier\0\0\0";
        let mut file = vec![0_u8; 64];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        // Relocatable, for BPF.
        file[16..24].copy_from_slice(&[1, 0, 247, 0, 1, 0, 0, 0]);
        file[52] = 64;
        file.extend(NAMES);
        file.extend(code);
        let table = u64::try_from(file.len()).unwrap();
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[58..64].copy_from_slice(&[64, 0, 3, 0, 1, 0]);
        for (name, kind, flags, offset, size) in [
            (0_u32, 0_u32, 0_u64, 0, 0),
            (1, 3, 0, 64, NAMES.len()),
            (11, 1, 6, 64 + NAMES.len(), code.len()),
        ] {
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            for word in [
                flags,
                0,
                u64::try_from(offset).unwrap(),
                u64::try_from(size).unwrap(),
                0,
                8,
                0,
            ] {
                file.extend(word.to_le_bytes());
            }
        }
        file
    }

    fn checked(code: &[[u8; 8]], source: &str) -> Result<(), String> {
        check(&object(&code.concat()), source).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn an_operand_that_is_taken_for_the_fetched_value_is_found() {
        let miscompiled = [ONE_IN_R1, ADD_R1_TO_R2, SKIP_IF_R1_GREATER_R4, EXIT_, EXIT_];
        let error = checked(&miscompiled, "").unwrap_err();
        assert!(error.contains("classifier"), "{error}");
        assert!(error.contains("instruction 1 fetches nothing"), "{error}");
        let copied = [ONE_IN_R1, ADD_R1_TO_R2, COPY_R1_TO_R3, R3_PLUS_ONE, EXIT_];
        assert!(checked(&copied, "").is_err());
    }

    #[test]
    fn fetched_values_and_constants_may_be_used() {
        let fetched = [
            ONE_IN_R1,
            FETCH_ADD_R1_TO_R2,
            SKIP_IF_R1_GREATER_R4,
            EXIT_,
            EXIT_,
        ];
        assert_eq!(checked(&fetched, ""), Ok(()));
        let constant = [
            ONE_IN_R1,
            ADD_R1_TO_R2,
            ADD_R1_TO_R2,
            ONE_IN_R1,
            SKIP_IF_R1_GREATER_R4,
            EXIT_,
        ];
        assert_eq!(checked(&constant, ""), Ok(()));
    }

    #[test]
    fn each_call_of_a_fetching_step_must_be_there() {
        let one = [ONE_IN_R1, FETCH_ADD_R1_TO_R2, ADD_R1_TO_R2, EXIT_];
        assert_eq!(checked(&one, "nothing of the plane"), Ok(()));
        let error = checked(&one, "use chaos_ebpf::plane::decide_list;").unwrap_err();
        assert!(
            error.contains("1 instructions of the kind FetchAdd"),
            "{error}"
        );
        let two = [FETCH_ADD_R1_TO_R2, FETCH_ADD_R1_TO_R2, EXIT_];
        assert_eq!(checked(&two, "plane::decide_met"), Ok(()));
        assert!(checked(&two, "plane:: and scratch::").is_err());
        let all = [
            FETCH_ADD_R1_TO_R2,
            FETCH_ADD_R1_TO_R2,
            EXCHANGE_R1_AT_R2,
            EXCHANGE_R1_AT_R2,
            EXIT_,
        ];
        assert_eq!(checked(&all, "plane:: and scratch::"), Ok(()));
    }
}
