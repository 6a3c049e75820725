//! `clock.freeze`, `clock.offset`, `clock.speed` and `clock.step`.

use super::Reader;
use crate::{
    api::proto,
    experiment::{Clock, ClockFreeze, ClockOffset, ClockRate, ClockSpeed, ClockStep, TimeOffset},
};

impl Reader {
    pub(super) fn clock_freeze(&mut self, field: &str, wire: &proto::ClockFreeze) -> ClockFreeze {
        ClockFreeze {
            clocks: self.clocks(field, &wire.clocks),
        }
    }

    pub(super) fn clock_offset(&mut self, field: &str, wire: &proto::ClockOffset) -> ClockOffset {
        ClockOffset {
            clocks: self.clocks(field, &wire.clocks),
            offset: self.offset(field, wire.offset_ns),
            allow_backwards: wire.allow_backwards,
        }
    }

    pub(super) fn clock_speed(&mut self, field: &str, wire: &proto::ClockSpeed) -> ClockSpeed {
        let speed = ClockRate::from_billionths(wire.speed_billionths);
        if speed.is_none() {
            self.bad(
                &format!("{field}.speed"),
                format!(
                    "{} billionths is not from {} to {}, or is 1",
                    wire.speed_billionths,
                    ClockRate::MIN,
                    ClockRate::MAX
                ),
            );
        }
        ClockSpeed {
            clocks: self.clocks(field, &wire.clocks),
            speed: speed.unwrap_or(ClockRate::HALF),
            allow_backwards: wire.allow_backwards,
        }
    }

    pub(super) fn clock_step(&mut self, field: &str, wire: &proto::ClockStep) -> ClockStep {
        let every = self.duration(&format!("{field}.every"), wire.every);
        ClockStep {
            clocks: self.clocks(field, &wire.clocks),
            offset: self.offset(field, wire.offset_ns),
            every: every.unwrap_or(ClockStep::EVERY),
            allow_backwards: wire.allow_backwards,
        }
    }

    fn offset(&mut self, field: &str, nanos: i64) -> TimeOffset {
        TimeOffset::from_nanos(nanos).unwrap_or_else(|| {
            self.bad(
                &format!("{field}.offset"),
                format!("is zero, or beyond {} days", TimeOffset::MAX_DAYS),
            );
            TimeOffset::HOUR
        })
    }

    fn clocks(&mut self, field: &str, wire: &[i32]) -> Vec<Clock> {
        let mut clocks = Vec::new();
        for clock in wire {
            let known = Clock::ALL
                .into_iter()
                .find(|known| i32::from(proto::Clock::from(*known)) == *clock);
            match known {
                Some(known) => clocks.push(known),
                None => self.bad(
                    &format!("{field}.clocks"),
                    format!("{clock} is not a clock"),
                ),
            }
        }
        clocks
    }
}
