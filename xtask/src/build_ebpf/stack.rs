//! Looks at how much of the stack a program takes together with what it calls.
//!
//! The kernel allows 512 bytes, and rounds each function's part up: to 32 bytes in Linux 6.1, to 16 in
//! 6.12 (`kernel/bpf/verifier.c`, `check_max_stack_depth_subprog`).
//! So what the newest kernel loads an older one may not, which only a test on that one would tell.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, Section, SectionKind,
    SymbolKind,
};

use super::instruction::{
    ADD, ALWAYS, CALL, CLASS, CLASS_ALU, CLASS_ALU64, CLASS_JUMP, CLASS_LOAD, CLASS_STORE,
    CLASS_STORE_REGISTER, CLOBBERED, EXIT, FROM_REGISTER, INSTRUCTION, Instruction, LOAD_WIDE,
    MOVE, OPERATION,
};

/// Bytes of a program and what it calls (`MAX_BPF_STACK`).
const STACK: u64 = 512;
const ROUNDED_TO: u64 = 32;
const REGISTERS: usize = 11;
const FRAME: usize = 10;
/// The source register of a call of a function in the same object (`BPF_PSEUDO_CALL`).
const OF_THIS_OBJECT: u8 = 1;

/// Where a function begins: section and address.
type Place = (usize, u64);

#[derive(Default)]
struct Function {
    name: String,
    /// How far down its frame it writes, reads or points.
    depth: u64,
    calls: Vec<Place>,
}

/// The deepest way through a program's calls.
struct Way {
    bytes: u64,
    names: Vec<String>,
}

/// Fails if the functions of a program need more room than the oldest kernel gives them.
pub(super) fn check(object: &[u8]) -> Result<()> {
    let file = object::File::parse(object).context("read the object")?;
    let mut functions = BTreeMap::new();
    for symbol in file.symbols() {
        if symbol.kind() != SymbolKind::Text {
            continue;
        }
        let (Some(index), Ok(name)) = (symbol.section_index(), symbol.name()) else {
            continue;
        };
        let section = file.section_by_index(index)?;
        if section.kind() != SectionKind::Text {
            continue;
        }
        let start = usize::try_from(symbol.address())?;
        let size = usize::try_from(symbol.size())?;
        let code = section
            .data()?
            .get(start..start + size)
            .with_context(|| format!("{name} ends behind its section"))?;
        let function = Function {
            name: name.to_owned(),
            depth: depth(code),
            calls: calls(&file, &section, symbol.address(), code)?,
        };
        functions.insert((index.0, symbol.address()), function);
    }
    for place in functions.keys() {
        let way = deepest(&functions, *place, &mut Vec::new())?;
        if way.bytes > STACK {
            bail!(
                "{} bytes of stack in {}: Linux 6.1 gives {STACK} to a program and what it \
                 calls, and rounds each part up to {ROUNDED_TO} (keep large values in \
                 chaos-ebpf/src/scratch.rs)",
                way.bytes,
                way.names.join(" -> ")
            );
        }
    }
    Ok(())
}

/// How deep a function goes: the lowest address that it makes of its frame pointer. Registers are
/// followed line by line, as compilers make such addresses where they use them.
fn depth(mut code: &[u8]) -> u64 {
    const NOTHING: [Option<i64>; REGISTERS] = {
        let mut registers = [None; REGISTERS];
        registers[FRAME] = Some(0);
        registers
    };
    let mut lowest = 0_i64;
    let mut registers = NOTHING;
    while let Some(instruction) = Instruction::read(code) {
        code = code.get(instruction.width()..).unwrap_or_default();
        let Instruction {
            opcode,
            offset,
            immediate,
            ..
        } = instruction;
        let destination = usize::from(instruction.destination);
        let source = usize::from(instruction.source);
        let at = |registers: &[Option<i64>; REGISTERS], register: usize| {
            registers.get(register).copied().flatten()
        };
        let mut reaches = |place: Option<i64>| {
            if let Some(place) = place {
                lowest = lowest.min(place);
            }
        };
        let mut becomes = None;
        match (opcode & CLASS, opcode & OPERATION) {
            (CLASS_LOAD, _) => {
                reaches(at(&registers, source).map(|base| base + i64::from(offset)));
                becomes = Some(None);
            }
            (CLASS_STORE | CLASS_STORE_REGISTER, _) => {
                reaches(at(&registers, destination).map(|base| base + i64::from(offset)));
            }
            (CLASS_ALU64, MOVE) if opcode & FROM_REGISTER != 0 => {
                becomes = Some(at(&registers, source));
            }
            (CLASS_ALU64, ADD) if opcode & FROM_REGISTER == 0 => {
                becomes = Some(at(&registers, destination).map(|base| base + i64::from(immediate)));
            }
            (CLASS_ALU | CLASS_ALU64, _) => becomes = Some(None),
            (CLASS_JUMP, CALL) => {
                for (register, place) in registers.iter_mut().enumerate() {
                    if CLOBBERED >> register & 1 != 0 {
                        *place = None;
                    }
                }
            }
            (CLASS_JUMP, ALWAYS | EXIT) => registers = NOTHING,
            _ if opcode == LOAD_WIDE => becomes = Some(None),
            _ => {}
        }
        if let Some(place) = becomes {
            reaches(place);
            if destination < FRAME {
                registers[destination] = place;
            }
        }
    }
    lowest.unsigned_abs()
}

/// The functions that a function calls, or gives to a helper to be called.
fn calls(
    file: &object::File<'_>,
    section: &Section<'_, '_>,
    start: u64,
    code: &[u8],
) -> Result<Vec<Place>> {
    let mut relocated = BTreeMap::new();
    for (offset, relocation) in section.relocations() {
        if let RelocationTarget::Symbol(index) = relocation.target() {
            relocated.insert(offset, file.symbol_by_index(index)?);
        }
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(instruction) = code.get(at..).and_then(Instruction::read) {
        let place = start + u64::try_from(at)?;
        at += instruction.width();
        let immediate = i64::from(instruction.immediate);
        let is_call = instruction.opcode == (CLASS_JUMP | CALL);
        let symbol = relocated.get(&place);
        if is_call && instruction.source == OF_THIS_OBJECT {
            // In instructions, from the next one on.
            let distance = (immediate + 1) * i64::try_from(INSTRUCTION)?;
            let (section, base) = match symbol {
                Some(symbol) => (symbol.section_index(), symbol.address()),
                None => (Some(section.index()), place),
            };
            let section = section.context("a call of a function that is not there")?;
            found.push((section.0, base.wrapping_add_signed(distance)));
        } else if instruction.opcode == LOAD_WIDE
            && let Some(symbol) = symbol
            && let Some(index) = symbol.section_index()
            && file.section_by_index(index)?.kind() == SectionKind::Text
        {
            found.push((index.0, symbol.address().wrapping_add_signed(immediate)));
        }
    }
    Ok(found)
}

/// Adds up the deepest way from a function; `over` is how it got there.
fn deepest(
    functions: &BTreeMap<Place, Function>,
    place: Place,
    over: &mut Vec<Place>,
) -> Result<Way> {
    let function = functions
        .get(&place)
        .with_context(|| format!("no function begins at {:#x} of a section", place.1))?;
    if over.contains(&place) {
        bail!("{} calls itself", function.name);
    }
    over.push(place);
    let mut way = Way {
        bytes: 0,
        names: Vec::new(),
    };
    for called in &function.calls {
        let other = deepest(functions, *called, over)?;
        if other.bytes > way.bytes {
            way = other;
        }
    }
    over.pop();
    way.bytes += function.depth.max(1).next_multiple_of(ROUNDED_TO);
    way.names
        .insert(0, format!("{} ({})", function.name, function.depth));
    Ok(way)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE_AT_MINUS_24: [u8; 8] = [0x7b, 0x1a, 0xe8, 0xff, 0, 0, 0, 0];
    const R2_IS_FRAME: [u8; 8] = [0xbf, 0xa2, 0, 0, 0, 0, 0, 0];
    const R2_MINUS_72: [u8; 8] = [0x07, 0x02, 0, 0, 0xb8, 0xff, 0xff, 0xff];
    const R2_IS_R1: [u8; 8] = [0xbf, 0x12, 0, 0, 0, 0, 0, 0];
    const LOAD_FROM_R2_MINUS_8: [u8; 8] = [0x79, 0x20, 0xf8, 0xff, 0, 0, 0, 0];
    const CALL_HELPER: [u8; 8] = [0x85, 0, 0, 0, 1, 0, 0, 0];

    #[test]
    fn what_is_written_and_what_is_pointed_to_is_deep() {
        assert_eq!(depth(&[]), 0);
        assert_eq!(depth(&STORE_AT_MINUS_24), 24);
        let pointed = [STORE_AT_MINUS_24, R2_IS_FRAME, R2_MINUS_72, CALL_HELPER].concat();
        assert_eq!(depth(&pointed), 72);
        let read = [R2_IS_FRAME, R2_MINUS_72, LOAD_FROM_R2_MINUS_8].concat();
        assert_eq!(depth(&read), 80);
    }

    #[test]
    fn other_addresses_are_not() {
        let other = [R2_IS_FRAME, R2_IS_R1, R2_MINUS_72].concat();
        assert_eq!(depth(&other), 0);
        let clobbered = [R2_IS_FRAME, CALL_HELPER, R2_MINUS_72].concat();
        assert_eq!(depth(&clobbered), 0);
    }

    fn functions(of: &[(&str, u64, &[u64])]) -> BTreeMap<Place, Function> {
        (0..)
            .zip(of)
            .map(|(at, (name, depth, calls))| {
                let function = Function {
                    name: (*name).to_owned(),
                    depth: *depth,
                    calls: calls.iter().map(|at| (0, *at)).collect(),
                };
                ((0, at), function)
            })
            .collect()
    }

    #[test]
    fn the_deepest_way_counts_each_part_rounded_up() {
        let functions = functions(&[
            ("program", 136, &[1, 2]),
            ("flat", 300, &[]),
            ("event", 176, &[3]),
            ("rule", 168, &[]),
        ]);
        let way = deepest(&functions, (0, 0), &mut Vec::new()).unwrap();
        assert_eq!(way.bytes, 160 + 192 + 192);
        assert_eq!(way.names, ["program (136)", "event (176)", "rule (168)"]);
    }

    #[test]
    fn who_calls_itself_has_no_end() {
        let functions = functions(&[("first", 8, &[1]), ("second", 8, &[0])]);
        assert!(deepest(&functions, (0, 0), &mut Vec::new()).is_err());
    }
}
