//! Shares and durations: exact, with a unit always.

mod cpu_quota;
mod duration;
mod percent;
mod share;

pub use cpu_quota::CpuQuota;
pub use duration::{MAX_DURATION, format_duration, parse_duration};
pub use share::Share;
