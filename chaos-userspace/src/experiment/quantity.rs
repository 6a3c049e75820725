//! Shares, durations, sizes and rates: exact, with a unit always.

mod bit_rate;
mod byte_rate;
mod byte_size;
mod bytes;
mod cpu_quota;
mod duration;
mod percent;
mod share;

pub use bit_rate::BitRate;
pub use byte_rate::ByteRate;
pub use byte_size::ByteSize;
pub use cpu_quota::CpuQuota;
pub use duration::{MAX_DURATION, format_duration, parse_duration};
pub use share::Share;
