//! The vDSO of a process, and how its functions are redirected.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
};

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Decoder, DecoderOptions, FlowControl, Instruction,
    InstructionBlock,
};
use object::{Object as _, ObjectSymbol as _, read::elf::ElfFile64};

use super::{
    home::ROOM,
    stub::{Function, LONGEST},
};

/// The bytes of a jump to anywhere within 2 GB.
pub(super) const JUMP: usize = 5;

/// How the functions of one image are redirected. Addresses count from the beginning of the image.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) entries: Vec<Redirect>,
}

/// The first instructions of a function.
#[derive(Clone, Debug)]
pub(super) struct Redirect {
    pub(super) function: Function,
    /// Where they are: behind `endbr64`, if there is one.
    pub(super) at: u64,
    /// As long as a jump, or longer.
    pub(super) original: Vec<u8>,
}

impl Plan {
    /// Looks at an image, or remembers it: there is one for all processes of a kernel.
    ///
    /// # Errors
    /// Why its functions can't be redirected.
    pub(super) fn of(image: &[u8]) -> Result<Arc<Self>, String> {
        type Known = Mutex<Option<HashMap<u64, Arc<Plan>>>>;
        static KNOWN: Known = Mutex::new(None);
        let mut hasher = DefaultHasher::new();
        image.hash(&mut hasher);
        let hash = hasher.finish();
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        if let Some(plan) = known.get(&hash) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Self::make(image)?);
        known.insert(hash, Arc::clone(&plan));
        Ok(plan)
    }

    fn make(image: &[u8]) -> Result<Self, String> {
        let elf = ElfFile64::<object::Endianness>::parse(image)
            .map_err(|error| format!("its vDSO is no ELF image: {error}"))?;
        let functions: Vec<(String, u64, u64)> = elf
            .dynamic_symbols()
            .filter(|symbol| symbol.size() > 0)
            .filter_map(|symbol| {
                Some((
                    symbol.name().ok()?.to_owned(),
                    symbol.address(),
                    symbol.size(),
                ))
            })
            .collect();
        let code = |address: u64, size: u64| {
            let start = usize::try_from(address).ok()?;
            image.get(start..start.checked_add(usize::try_from(size).ok()?)?)
        };
        let mut targets = Vec::new();
        for (_, address, size) in &functions {
            let bytes = code(*address, *size).ok_or("a function lies outside of its vDSO")?;
            for instruction in &mut Decoder::with_ip(64, bytes, *address, DecoderOptions::NONE) {
                if instruction.is_jcc_short_or_near() || instruction.is_jmp_short_or_near() {
                    targets.push(instruction.near_branch_target());
                }
            }
        }
        let mut entries = Vec::new();
        for function in Function::ALL {
            let found = functions.iter().find(|it| it.0 == function.symbol());
            let Some((_, address, size)) = found else {
                continue;
            };
            let bytes = code(*address, *size).ok_or("a function lies outside of its vDSO")?;
            entries.push(redirect(function, bytes, *address, &targets)?);
        }
        if !entries
            .iter()
            .any(|it| it.function == Function::ClockGettime)
        {
            return Err(format!(
                "its vDSO has no {}",
                Function::ClockGettime.symbol()
            ));
        }
        let end = image.len().checked_sub(ROOM).and_then(|at| image.get(at..));
        if !end.is_some_and(|end| end.iter().all(|byte| *byte == 0)) {
            return Err("its vDSO has no room at its end".to_owned());
        }
        Ok(Self { entries })
    }
}

/// Where the first instructions of the functions of an image lie, whatever they are now.
pub(super) fn entries(image: &[u8]) -> Option<Vec<u64>> {
    const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
    let elf = ElfFile64::<object::Endianness>::parse(image).ok()?;
    let names = Function::ALL.map(Function::symbol);
    let entries = elf
        .dynamic_symbols()
        .filter(|symbol| symbol.name().is_ok_and(|name| names.contains(&name)))
        .map(|symbol| {
            let at = symbol.address();
            let index = usize::try_from(at).unwrap_or(usize::MAX);
            let marked = image
                .get(index..)
                .is_some_and(|it| it.starts_with(&ENDBR64));
            if marked { at + 4 } else { at }
        });
    Some(entries.collect())
}

fn redirect(
    function: Function,
    bytes: &[u8],
    address: u64,
    targets: &[u64],
) -> Result<Redirect, String> {
    let cannot = |why: &str| Err(format!("{} can't be redirected: {why}", function.symbol()));
    let mut at = address;
    let mut length = 0;
    for instruction in &mut Decoder::with_ip(64, bytes, address, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            return cannot("it begins with an instruction that is not known");
        }
        // Where indirect calls are checked it has to stay what they find.
        if instruction.code() == Code::Endbr64 && length == 0 {
            at = instruction.next_ip();
            continue;
        }
        if instruction.flow_control() != FlowControl::Next {
            return cannot("it branches, or calls, before there is room for a jump");
        }
        length += instruction.len();
        if length >= JUMP {
            break;
        }
    }
    if !(JUMP..=LONGEST).contains(&length) {
        return cannot("it is too short");
    }
    let end = at + length as u64;
    if targets.iter().any(|target| (at + 1..end).contains(target)) {
        return cannot("something jumps into its first instructions");
    }
    let start = usize::try_from(at - address).unwrap_or(usize::MAX);
    Ok(Redirect {
        function,
        at,
        original: bytes[start..start + length].to_vec(),
    })
}

/// What was moved out of a function.
#[derive(Debug)]
pub(super) struct Trampoline {
    pub(super) bytes: Vec<u8>,
    /// Where an instruction was, and where it is now.
    pub(super) moved: Vec<(u64, u64)>,
}

impl Redirect {
    /// The moved instructions, and a jump behind the original ones, for an image that lies at
    /// `image` and a trampoline at `trampoline`.
    pub(super) fn trampoline(&self, image: u64, trampoline: u64) -> Result<Trampoline, String> {
        let cannot = |why: String| format!("{} can't be moved: {why}", self.function.symbol());
        // Decoded again, where it really lies: what is relative to it is computed anew.
        let ip = image.wrapping_add(self.at);
        let mut instructions: Vec<Instruction> =
            Decoder::with_ip(64, &self.original, ip, DecoderOptions::NONE)
                .into_iter()
                .collect();
        let moved: Vec<u64> = instructions.iter().map(Instruction::ip).collect();
        let behind = ip + self.original.len() as u64;
        let mut back = Instruction::with_branch(Code::Jmp_rel32_64, behind)
            .map_err(|error| cannot(error.to_string()))?;
        // Not where it goes to: that would be taken for a jump to itself.
        back.set_ip(behind + 1);
        instructions.push(back);
        let block = InstructionBlock::new(&instructions, trampoline);
        let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
        let encoded =
            BlockEncoder::encode(64, block, options).map_err(|error| cannot(error.to_string()))?;
        let moved = moved
            .into_iter()
            .zip(&encoded.new_instruction_offsets)
            .map(|(from, to)| (from, trampoline + u64::from(*to)))
            .collect();
        Ok(Trampoline {
            bytes: encoded.code_buffer,
            moved,
        })
    }

    /// The jump that takes the place of the first instructions.
    pub(super) fn jump(&self, image: u64, to: u64) -> Option<[u8; JUMP]> {
        let behind = image.wrapping_add(self.at) + JUMP as u64;
        let distance = i32::try_from(to.cast_signed().checked_sub(behind.cast_signed())?).ok()?;
        let [a, b, c, d] = distance.to_le_bytes();
        Some([0xe9, a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x1000;

    fn redirected(bytes: &[u8], targets: &[u64]) -> Result<Redirect, String> {
        redirect(Function::Time, bytes, AT, targets)
    }

    #[test]
    fn what_is_moved_is_as_long_as_a_jump_and_goes_on_behind() {
        // endbr64; push rbp; lea r10, [rip - 0x6818]; ret
        let bytes = [
            0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x4c, 0x8d, 0x15, 0xe8, 0x97, 0xff, 0xff, 0xc3,
        ];
        let entry = redirected(&bytes, &[AT]).unwrap();
        assert_eq!(
            (entry.at, entry.original.as_slice()),
            (AT + 4, &bytes[4..12])
        );
        let (image, place) = (0x7f00_0000_0000, 0x7f00_1000_0000);
        let trampoline = entry.trampoline(image, place).unwrap();
        assert_eq!(
            trampoline.moved,
            [(image + AT + 4, place), (image + AT + 5, place + 1)]
        );
        let mut decoder = Decoder::with_ip(64, &trampoline.bytes, place, DecoderOptions::NONE);
        let push = decoder.decode();
        let lea = decoder.decode();
        let back = decoder.decode();
        assert_eq!(push.code(), Code::Push_r64);
        // It finds the same data from elsewhere.
        let data = (image + AT + 12).wrapping_sub(0x6818);
        assert_eq!(lea.ip_rel_memory_address(), data);
        assert_eq!(back.near_branch_target(), image + AT + 12);
        let jump = entry.jump(image, place + 0x140).unwrap();
        let there = Decoder::with_ip(64, &jump, image + AT + 4, DecoderOptions::NONE).decode();
        assert_eq!(there.near_branch_target(), place + 0x140);
        assert_eq!(entry.jump(image, image + (1 << 32)), None, "too far");
    }

    #[test]
    fn what_cannot_be_moved_is_refused() {
        for (bytes, targets, reason) in [
            (
                &[0x55, 0xeb, 0x10, 0x90, 0x90, 0x90][..],
                &[][..],
                "it branches",
            ),
            (&[0x55, 0xc3], &[], "it branches"),
            (&[0x55, 0x90], &[], "it is too short"),
            (&[0x90; 8], &[AT + 2], "something jumps into"),
            (&[0x06; 8], &[], "not known"),
        ] {
            let why = redirected(bytes, targets).unwrap_err();
            assert!(why.contains(reason), "{why}");
        }
        assert!(Plan::of(b"nothing").unwrap_err().contains("no ELF image"));
    }
}
