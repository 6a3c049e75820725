//! Shares, durations, sizes and rates: exact, with a unit always.

mod byte_rate;
mod byte_size;
mod bytes;
mod cpu_quota;
mod duration;
mod percent;
mod share;

pub use byte_rate::ByteRate;
pub use byte_size::ByteSize;
pub use cpu_quota::CpuQuota;
pub use duration::{MAX_DURATION, format_duration, parse_duration};
pub use share::Share;
