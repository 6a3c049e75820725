//! The tables by which delays are distributed, made as those of `tc-netem(8)` are (`netem/*.c` in iproute2).

use chaos_common::link::distribution::{ENTRIES, NORMAL, PARETO, PARETO_NORMAL, SCALE_BITS};

type Table = [i16; ENTRIES];

/// Each with its number.
pub(super) fn tables() -> Vec<(u32, Table)> {
    vec![
        (NORMAL, table(normal)),
        (PARETO, table(pareto)),
        (
            PARETO_NORMAL,
            table(|share| normal(share) / 4.0 + pareto(share) * 3.0 / 4.0),
        ),
    ]
}

/// By so much a delay differs from its mean, in units of the jitter, for as many delays as there are entries,
/// from the smallest on.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "clamped, and there are few entries"
)]
fn table(quantile: impl Fn(f64) -> f64) -> Table {
    std::array::from_fn(|index| {
        let share = (index as f64 + 0.5) / ENTRIES as f64;
        let scaled = quantile(share) * f64::from(1 << SCALE_BITS);
        scaled
            .round()
            .clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
    })
}

/// By Pareto with the exponent 3, moved to the mean 0 and stretched: `pareto.c`.
fn pareto(share: f64) -> f64 {
    ((1.0 - share).powf(-1.0 / 3.0) - 1.5) * 4.0 / 3.0
}

/// By Gauss, with the mean 0 and the deviation 1: where the curve has so much of its area behind it. Found by
/// halving, because nobody waits for it.
fn normal(share: f64) -> f64 {
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..48 {
        let middle = f64::midpoint(low, high);
        if area(middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The area under the bell up to a place: Abramowitz and Stegun, 26.2.17, right to 7.5e-8.
fn area(place: f64) -> f64 {
    const FACTORS: [f64; 5] = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let step = 1.0 / (1.0 + 0.231_641_9 * place.abs());
    let sum = FACTORS
        .iter()
        .rev()
        .fold(0.0, |sum, factor| (sum + factor) * step);
    let bell = (-place * place / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if place < 0.0 {
        bell * sum
    } else {
        1.0 - bell * sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(table: &Table) -> (f64, f64) {
        let scale = f64::from(1 << SCALE_BITS);
        let values: Vec<f64> = table
            .iter()
            .map(|entry| f64::from(*entry) / scale)
            .collect();
        let count = f64::from(u32::try_from(values.len()).unwrap());
        let mean = values.iter().sum::<f64>() / count;
        let spread = values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / count;
        (mean, spread.sqrt())
    }

    #[test]
    fn tables_have_the_moments_of_their_distributions() {
        let tables = tables();
        let (mean, deviation) = moments(&tables[0].1);
        assert!(mean.abs() < 0.001 && (deviation - 1.0).abs() < 0.005);
        for (_, pareto) in &tables[1..] {
            // The long tail is cut where an entry ends, at four times the jitter.
            let (mean, deviation) = moments(pareto);
            assert!(
                mean.abs() < 0.06 && (0.6..1.0).contains(&deviation),
                "{mean} {deviation}"
            );
        }
        for (_, table) in &tables {
            assert!(table.is_sorted());
        }
        assert_eq!(tables[0].1[2048], 3, "half of them are below the mean");
        assert_eq!(
            tables[1].1[0], -5461,
            "none is shorter by more than two thirds"
        );
    }
}
