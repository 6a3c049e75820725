//! Just enough of BTF to find fields of structures and functions (Documentation/bpf/btf.rst).
//!
//! aya-obj parses BTF as well, but keeps the members of a structure to itself.

use std::collections::HashMap;

use super::EngineError;

const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES: usize = 24;
const TYPE_BYTES: usize = 12;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// A parsed BTF blob.
#[derive(Debug)]
pub(super) struct Btf<'a> {
    strings: &'a [u8],
    /// Where each type starts in `types`; type 1 is the first.
    starts: Vec<usize>,
    types: &'a [u8],
    /// Structures that have a name; the first definition wins.
    structs: HashMap<&'a [u8], u32>,
    functions: Vec<(&'a str, u32)>,
    enums: Vec<u32>,
}

struct Type<'a> {
    name: u32,
    kind: u32,
    count: usize,
    /// Members have a bit field size in the upper 8 bits of their offset.
    bitfields: bool,
    /// Size or type, by kind.
    value: u32,
    rest: &'a [u8],
}

impl<'a> Btf<'a> {
    /// Parses a little-endian blob such as /sys/kernel/btf/vmlinux.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, EngineError> {
        Self::try_parse(bytes).ok_or_else(|| EngineError::Btf("not as expected".to_owned()))
    }

    fn try_parse(bytes: &'a [u8]) -> Option<Self> {
        if u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let word = |at| word(bytes, at).map(|value| value as usize);
        let body = bytes.get(word(4)?.max(HEADER_BYTES)..)?;
        let (type_at, type_len) = (word(8)?, word(12)?);
        let (string_at, string_len) = (word(16)?, word(20)?);
        let mut btf = Self {
            strings: body.get(string_at..string_at.checked_add(string_len)?)?,
            starts: Vec::new(),
            types: body.get(type_at..type_at.checked_add(type_len)?)?,
            structs: HashMap::new(),
            functions: Vec::new(),
            enums: Vec::new(),
        };
        let mut at = 0;
        while at < btf.types.len() {
            btf.starts.push(at);
            let id = u32::try_from(btf.starts.len()).ok()?;
            let current = btf.get(id)?;
            let name = btf.string(current.name)?;
            if current.kind == KIND_STRUCT && !name.is_empty() {
                btf.structs.entry(name).or_insert(id);
            } else if current.kind == KIND_FUNC {
                btf.functions.push((std::str::from_utf8(name).ok()?, id));
            } else if current.kind == KIND_ENUM {
                btf.enums.push(id);
            }
            at += TYPE_BYTES + current.trailer()?;
        }
        Some(btf)
    }

    /// All functions with their ids.
    pub(super) fn functions(&self) -> impl Iterator<Item = (&'a str, u32)> {
        self.functions.iter().copied()
    }

    /// The enumerators whose names begin like this, with their values. Not those of 64 bits.
    pub(super) fn enumerators(&self, prefix: &str) -> HashMap<&'a str, u32> {
        let enums = self.enums.iter().filter_map(|id| self.get(*id));
        enums
            .flat_map(|current| {
                (0..current.count).filter_map(move |index| {
                    let name = self.string(word(current.rest, index * 8)?)?;
                    if !name.starts_with(prefix.as_bytes()) {
                        return None;
                    }
                    let value = word(current.rest, index * 8 + 4)?;
                    Some((std::str::from_utf8(name).ok()?, value))
                })
            })
            .collect()
    }

    /// How many arguments a function takes, by its id.
    pub(super) fn arguments(&self, function: u32) -> Option<usize> {
        let prototype = self.get(self.get(function)?.value)?;
        (prototype.kind == KIND_FUNC_PROTO).then_some(prototype.count)
    }

    /// The offset in bytes of a field, by the structure's name and the names on the way, through
    /// anonymous members. `None` if there is no such field or it is a bit field.
    pub(super) fn offset(&self, structure: &str, path: &[&str]) -> Option<u32> {
        let mut id = *self.structs.get(structure.as_bytes())?;
        let mut bits = 0;
        for field in path {
            let (offset, member) = self.member(id, field.as_bytes(), 8)?;
            bits += offset;
            id = self.resolve(member)?;
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// Offset in bits and type of a member; `depth` bounds how far anonymous members nest.
    fn member(&self, id: u32, field: &[u8], depth: u32) -> Option<(u32, u32)> {
        let outer = self.get(id)?;
        if depth == 0 || !matches!(outer.kind, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        for index in 0..outer.count {
            let name = self.string(word(outer.rest, index * 12)?)?;
            let kind = word(outer.rest, index * 12 + 4)?;
            let raw = word(outer.rest, index * 12 + 8)?;
            let offset = if outer.bitfields {
                raw & 0x00ff_ffff
            } else {
                raw
            };
            if name == field {
                return Some((offset, kind));
            }
            if name.is_empty()
                && let Some((inner, found)) = self.member(self.resolve(kind)?, field, depth - 1)
            {
                return Some((offset + inner, found));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        for _ in 0..32 {
            let current = self.get(id)?;
            match current.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = current.value;
                }
                _ => return Some(id),
            }
        }
        None
    }

    fn get(&self, id: u32) -> Option<Type<'a>> {
        let at = *self.starts.get((id as usize).checked_sub(1)?)?;
        let info = word(self.types, at + 4)?;
        Some(Type {
            name: word(self.types, at)?,
            kind: (info >> 24) & 0x1f,
            count: (info & 0xffff) as usize,
            bitfields: info >> 31 != 0,
            value: word(self.types, at + 8)?,
            rest: self.types.get(at + TYPE_BYTES..)?,
        })
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        let tail = self.strings.get(offset as usize..)?;
        tail.split(|byte| *byte == 0).next()
    }
}

impl Type<'_> {
    /// Bytes that follow the common part.
    fn trailer(&self) -> Option<usize> {
        Some(match self.kind {
            KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
            KIND_ARRAY => 12,
            KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => self.count * 12,
            KIND_ENUM | KIND_FUNC_PROTO => self.count * 8,
            // ptr, fwd, typedef, volatile, const, restrict, func, float, type tag
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_refused_and_never_panics() {
        assert!(Btf::parse(&[]).is_err());
        assert!(Btf::parse(&[0x9f, 0xeb, 1, 0]).is_err());
        let mut blob = vec![0_u8; 256];
        blob[0] = 0x9f;
        blob[1] = 0xeb;
        for at in 2..256 {
            for value in [1, 24, 0x7f, 0xff] {
                blob[at] = value;
                if let Ok(btf) = Btf::parse(&blob) {
                    assert_eq!(btf.offset("file", &["f_path"]), None);
                }
            }
        }
    }

    #[test]
    fn the_running_kernel_has_the_offsets_that_its_abi_fixes() {
        let Ok(blob) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            return;
        };
        let btf = Btf::parse(&blob).unwrap();
        // struct list_head and struct pt_regs have had this layout for decades.
        assert_eq!(btf.offset("list_head", &["prev"]), Some(8));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(btf.offset("pt_regs", &["orig_ax"]), Some(120));
        assert_eq!(btf.offset("list_head", &["nothing"]), None);
        assert_eq!(btf.offset("no such struct", &[]), None);
        let arguments = |wanted: &str| {
            let (_, id) = btf.functions().find(|(name, _)| *name == wanted)?;
            btf.arguments(id)
        };
        assert_eq!(arguments("security_file_open"), Some(1));
        assert_eq!(arguments("security_file_permission"), Some(2));
        // enum bpf_cmd (include/uapi/linux/bpf.h), whose numbers are of the kernel's own ABI.
        let commands = btf.enumerators("BPF_PROG_");
        assert_eq!(commands.get("BPF_PROG_LOAD"), Some(&5));
        assert!(commands.keys().all(|name| name.starts_with("BPF_PROG_")));
    }
}
