//! `disk.error`, `disk.full` and `disk.quota`.

use super::{Reader, path_of};
use crate::{
    api::proto,
    experiment::{ByteSize, DiskError, DiskFull, DiskOp, DiskQuota},
};

impl Reader {
    pub(super) fn disk_error(&mut self, field: &str, wire: proto::DiskError) -> DiskError {
        let mut ops = Vec::new();
        for op in &wire.ops {
            let known = DiskOp::ALL
                .into_iter()
                .find(|known| i32::from(proto::DiskOp::from(*known)) == *op);
            match known {
                Some(known) => ops.push(known),
                None => self.bad(&format!("{field}.ops"), format!("{op} is not an operation")),
            }
        }
        DiskError {
            ops,
            device: wire.device,
        }
    }

    pub(super) fn disk_full(&mut self, field: &str, wire: &proto::DiskFull) -> DiskFull {
        DiskFull {
            bytes: self.bytes(field, wire.bytes),
            path: path_of(&wire.path),
        }
    }

    pub(super) fn disk_quota(&mut self, field: &str, wire: &proto::DiskQuota) -> DiskQuota {
        DiskQuota {
            bytes: self.bytes(field, wire.bytes),
            path: path_of(&wire.path),
        }
    }

    fn bytes(&mut self, field: &str, bytes: Option<u64>) -> Option<ByteSize> {
        let size = ByteSize::from_bytes(bytes?);
        if size.is_none() {
            self.bad(
                &format!("{field}.bytes"),
                format!("is not from 1 byte to {}", ByteSize::MAX),
            );
        }
        Some(size.unwrap_or(ByteSize::MEBIBYTE))
    }
}
