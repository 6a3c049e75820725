//! What several rounds of one measurement came to.

/// The middle of some values, and between what half of them lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// A quarter of them are less.
    pub low: f64,
    /// Half of them are less.
    pub median: f64,
    /// Three quarters of them are less.
    pub high: f64,
}

impl Spread {
    /// That of at least one value.
    ///
    /// # Panics
    /// There is none, or one that is no number.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "a spread of nothing");
        assert!(values.iter().all(|value| !value.is_nan()), "{values:?}");
        values.sort_by(f64::total_cmp);
        Self {
            low: quantile(&values, 1),
            median: quantile(&values, 2),
            high: quantile(&values, 3),
        }
    }
}

/// So many quarters of the way through sorted values, between two of them as far as it lies.
fn quantile(sorted: &[f64], quarters: usize) -> f64 {
    let steps = (sorted.len() - 1) * quarters;
    let (below, rest) = (steps / 4, steps % 4);
    let above = sorted[(below + 1).min(sorted.len() - 1)];
    // Less than four.
    let share = [0.0, 0.25, 0.5, 0.75][rest];
    sorted[below] + (above - sorted[below]) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_values() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        let one = spread(&[7.0]);
        assert_eq!((one.low, one.median, one.high), (7.0, 7.0, 7.0));
        let five = spread(&[5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!((five.low, five.median, five.high), (2.0, 3.0, 4.0));
        let two = spread(&[1.0, 2.0]);
        assert_eq!((two.low, two.median, two.high), (1.25, 1.5, 1.75));
    }
}
