//! `mem.mmap`, `mem.page` and `mem.slab`: their keys, and their rules.

use std::{fmt, str::FromStr};

use chaos_common::{GfpClass, allocation::CACHE_BYTES};

use super::{
    ByteSize, MemMmap, MemPage, MemSlab,
    set::{add, parse_count},
    violation::BadValue,
    wording::{guess, quoted},
};

/// A system call that asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapOp {
    /// A new mapping.
    Mmap,
    /// The data segment grows.
    Brk,
    /// A mapping grows.
    Mremap,
}

impl MapOp {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mmap, Self::Brk, Self::Mremap];

    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mmap => "mmap",
            Self::Brk => "brk",
            Self::Mremap => "mremap",
        }
    }

    /// The number of the system call on x86-64.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Mmap => 9,
            Self::Brk => 12,
            Self::Mremap => 25,
        }
    }
}

impl fmt::Display for MapOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MapOp {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let known = Self::ALL.into_iter().find(|op| op.name() == text);
        known.ok_or_else(|| {
            BadValue::new(
                format!("{} is no way of asking for memory", quoted(text)),
                guess(text, &Self::ALL.map(Self::name)),
            )
        })
    }
}

/// Why the kernel allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gfp {
    /// For itself, and may sleep: the default.
    Kernel,
    /// The same in the middle of a file system or of a disk.
    Nofs,
    /// Pages of programs and of the page cache.
    User,
    /// For itself, and must not sleep.
    Atomic,
}

impl Gfp {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Kernel, Self::Nofs, Self::User, Self::Atomic];

    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Nofs => "nofs",
            Self::User => "user",
            Self::Atomic => "atomic",
        }
    }

    /// What it is to a program.
    pub(crate) const fn class(self) -> GfpClass {
        match self {
            Self::Kernel => GfpClass::Kernel,
            Self::Nofs => GfpClass::Nofs,
            Self::User => GfpClass::User,
            Self::Atomic => GfpClass::Atomic,
        }
    }
}

impl fmt::Display for Gfp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Gfp {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let known = Self::ALL.into_iter().find(|class| class.name() == text);
        known.ok_or_else(|| {
            let remedy = match text {
                "GFP_KERNEL" => "say kernel".to_owned(),
                "GFP_NOFS" | "GFP_NOIO" => "say nofs, which is both".to_owned(),
                "GFP_ATOMIC" | "GFP_NOWAIT" => "say atomic, which is both".to_owned(),
                _ => guess(text, &Self::ALL.map(Self::name)),
            };
            BadValue::new(
                format!("{} is not a class of allocations", quoted(text)),
                remedy,
            )
        })
    }
}

impl MemMmap {
    /// Sets a key, if it is one of its own.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "ops" => add(&mut self.ops, text)?,
            "errno" => check_errno(text)?,
            "minSize" => self.min_size = Some(text.parse()?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl MemSlab {
    /// Sets a key, if it is one of its own.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "errno" => check_errno(text)?,
            "cache" => {
                check_cache(text)?;
                self.cache = Some(text.to_owned());
            }
            "minSize" => self.min_size = Some(text.parse()?),
            "gfp" => add(&mut self.gfp, text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What it has to keep, key by key.
    pub(super) fn rules(&self) -> [(&'static str, Result<(), BadValue>); 2] {
        let gfp = if self.gfp.contains(&Gfp::User) {
            Err(BadValue::new(
                "no slab is memory of programs",
                "say mem.page for these, or leave user out",
            ))
        } else {
            check_twice(&self.gfp)
        };
        let cache = self.cache.as_deref().map_or(Ok(()), check_cache);
        [("cache", cache), ("gfp", gfp)]
    }
}

impl MemPage {
    /// The highest order that the kernel allocates on x86-64 (`MAX_PAGE_ORDER`), 4 MiB.
    pub const MAX_ORDER: u32 = 10;

    /// Sets a key, if it is one of its own.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "errno" => check_errno(text)?,
            "minOrder" => {
                let order = parse_count(text)?;
                let order = u32::try_from(order).unwrap_or(u32::MAX);
                check_order(order)?;
                self.min_order = Some(order);
            }
            "gfp" => add(&mut self.gfp, text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What it has to keep, key by key.
    pub(super) fn rules(&self) -> [(&'static str, Result<(), BadValue>); 2] {
        let order = self.min_order.map_or(Ok(()), check_order);
        [("minOrder", order), ("gfp", check_twice(&self.gfp))]
    }
}

/// Whoever allocates takes every failure for this one, whatever a program says.
fn check_errno(text: &str) -> Result<(), BadValue> {
    if text == "ENOMEM" {
        return Ok(());
    }
    Err(BadValue::new(
        format!("{} is not what an allocation fails with", quoted(text)),
        "say ENOMEM",
    ))
}

fn check_cache(name: &str) -> Result<(), BadValue> {
    let most = CACHE_BYTES - 1;
    if (1..=most).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(BadValue::new(
        format!("{} is not the name of a slab cache", quoted(name)),
        format!("say one of /proc/slabinfo, such as filp, at most {most} bytes"),
    ))
}

fn check_order(order: u32) -> Result<(), BadValue> {
    if order <= MemPage::MAX_ORDER {
        return Ok(());
    }
    Err(BadValue::new(
        format!("{order} is out of range"),
        format!(
            "say from 0, which is one page, to {}, which is {}",
            MemPage::MAX_ORDER,
            1_u32 << MemPage::MAX_ORDER
        ),
    ))
}

pub(super) fn check_twice<T: PartialEq>(items: &[T]) -> Result<(), BadValue> {
    if (1..items.len()).any(|i| items[..i].contains(&items[i])) {
        return Err(BadValue::new("names one twice", "name it once"));
    }
    Ok(())
}

/// The bytes that a rule wants at least.
pub(crate) fn least(size: Option<ByteSize>) -> u64 {
    size.map_or(0, ByteSize::bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::word;

    #[test]
    fn each_call_and_each_class_has_a_name_of_its_own() {
        for op in MapOp::ALL {
            assert_eq!(op.name().parse(), Ok(op));
            let call: crate::experiment::Syscall = op.name().parse().unwrap();
            assert_eq!(call.number(), op.number());
        }
        for (index, class) in Gfp::ALL.into_iter().enumerate() {
            assert_eq!(class.name().parse(), Ok(class));
            assert_eq!(class.class() as usize, index, "{class}");
        }
    }

    #[test]
    fn words_of_memory() {
        for good in [
            "mem.mmap=ENOMEM",
            "mem.mmap:mmap+brk=ENOMEM@5%,minSize=1MiB,when=3",
            "mem.slab=ENOMEM,cache=filp,minSize=64B,gfp=kernel,gfp=atomic",
            "mem.page=ENOMEM,minOrder=2,gfp=user,times=1",
        ] {
            assert_eq!(word::format(&word::parse(good).unwrap()), good);
        }
        for (bad, message) in [
            (
                "mem.mmap:mmp=ENOMEM",
                "ops: 'mmp' is no way of asking for memory; did you mean mmap?",
            ),
            (
                "mem.mmap:brk+brk=ENOMEM",
                "ops: 'brk' is named twice; name it once",
            ),
            (
                "mem.mmap=EAGAIN",
                "errno: 'EAGAIN' is not what an allocation fails with; say ENOMEM",
            ),
            (
                "mem.mmap",
                "errno: is missing; write it as in mem.mmap:mmap=ENOMEM",
            ),
            (
                "mem.mmap=ENOMEM,ops=brk",
                "ops: is not a key; write it in front, as in mem.mmap:mmap=ENOMEM",
            ),
            (
                "mem.slab=ENOMEM,cache=a b",
                "cache: 'a b' is not the name of a slab cache; \
                 say one of /proc/slabinfo, such as filp, at most 63 bytes",
            ),
            (
                "mem.slab=ENOMEM,gfp=user",
                "gfp: no slab is memory of programs; \
                 say mem.page for these, or leave user out",
            ),
            (
                "mem.page=ENOMEM,gfp=GFP_NOIO",
                "gfp: 'GFP_NOIO' is not a class of allocations; say nofs, which is both",
            ),
            (
                "mem.page=ENOMEM,minOrder=11",
                "minOrder: 11 is out of range; \
                 say from 0, which is one page, to 10, which is 1024",
            ),
        ] {
            let violations = word::parse(bad).unwrap_err();
            assert_eq!(violations.to_string(), message, "{bad}");
        }
    }
}
