//! `mem.mmap`, `mem.page` and `mem.slab`.

use super::Reader;
use crate::{
    api::proto,
    experiment::{ByteSize, Gfp, MapOp, MemMmap, MemPage, MemSlab},
};

impl Reader {
    pub(super) fn mem_slab(&mut self, field: &str, wire: proto::MemSlab) -> MemSlab {
        MemSlab {
            min_size: self.min_size(field, wire.min_size),
            gfp: self.gfp(field, &wire.gfp),
            cache: wire.cache,
        }
    }

    pub(super) fn mem_page(&mut self, field: &str, wire: &proto::MemPage) -> MemPage {
        MemPage {
            min_order: wire.min_order,
            gfp: self.gfp(field, &wire.gfp),
        }
    }

    pub(super) fn mem_mmap(&mut self, field: &str, wire: &proto::MemMmap) -> MemMmap {
        let mut ops = Vec::new();
        for op in &wire.ops {
            let known = MapOp::ALL
                .into_iter()
                .find(|known| i32::from(proto::MapOp::from(*known)) == *op);
            match known {
                Some(known) => ops.push(known),
                None => self.bad(&format!("{field}.ops"), format!("{op} is not an operation")),
            }
        }
        MemMmap {
            ops,
            min_size: self.min_size(field, wire.min_size),
        }
    }

    fn min_size(&mut self, field: &str, bytes: Option<u64>) -> Option<ByteSize> {
        let size = ByteSize::from_bytes(bytes?);
        if size.is_none() {
            self.bad(
                &format!("{field}.minSize"),
                format!("is not from 1 byte to {}", ByteSize::MAX),
            );
        }
        size
    }

    fn gfp(&mut self, field: &str, wire: &[i32]) -> Vec<Gfp> {
        let mut classes = Vec::new();
        for class in wire {
            let known = Gfp::ALL
                .into_iter()
                .find(|known| i32::from(proto::GfpClass::from(*known)) == *class);
            match known {
                Some(known) => classes.push(known),
                None => self.bad(&format!("{field}.gfp"), format!("{class} is not a class")),
            }
        }
        classes
    }
}
