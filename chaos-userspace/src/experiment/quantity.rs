//! Shares and durations: exact, with a unit always.

mod duration;
mod share;

pub use duration::{MAX_DURATION, format_duration, parse_duration};
pub use share::Share;
