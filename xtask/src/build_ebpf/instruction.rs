//! Instructions of BPF, as far as what looks at built objects has to tell them apart
//! (`Documentation/bpf/standardization/instruction-set.rst`).

/// Bytes of an instruction.
pub(super) const INSTRUCTION: usize = 8;
/// Load of 64 bits, the only instruction that takes two slots.
pub(super) const LOAD_WIDE: u8 = 0x18;
pub(super) const CLASS: u8 = 0x07;
/// From memory to a register.
pub(super) const CLASS_LOAD: u8 = 0x01;
/// A number to memory.
pub(super) const CLASS_STORE: u8 = 0x02;
/// A register to memory, and atomics.
pub(super) const CLASS_STORE_REGISTER: u8 = 0x03;
pub(super) const CLASS_ALU: u8 = 0x04;
pub(super) const CLASS_JUMP: u8 = 0x05;
pub(super) const CLASS_JUMP32: u8 = 0x06;
pub(super) const CLASS_ALU64: u8 = 0x07;
pub(super) const OPERATION: u8 = 0xf0;
pub(super) const FROM_REGISTER: u8 = 0x08;
pub(super) const ADD: u8 = 0x00;
pub(super) const MOVE: u8 = 0xb0;
pub(super) const ALWAYS: u8 = 0x00;
pub(super) const CALL: u8 = 0x80;
pub(super) const EXIT: u8 = 0x90;
/// A call leaves only r6 and up as they were.
pub(super) const CLOBBERED: u16 = 0x3f;

/// The fields of an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    pub(super) opcode: u8,
    pub(super) destination: u8,
    pub(super) source: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

impl Instruction {
    /// The first instruction of some code.
    pub(super) fn read(code: &[u8]) -> Option<Self> {
        let bytes: [u8; INSTRUCTION] = code.get(..INSTRUCTION)?.try_into().ok()?;
        let [opcode, registers, low, high, immediate @ ..] = bytes;
        Some(Self {
            opcode,
            destination: registers & 0x0f,
            source: registers >> 4,
            offset: i16::from_le_bytes([low, high]),
            immediate: i32::from_le_bytes(immediate),
        })
    }

    /// How many bytes it takes.
    pub(super) fn width(self) -> usize {
        if self.opcode == LOAD_WIDE {
            2 * INSTRUCTION
        } else {
            INSTRUCTION
        }
    }
}
