//! Statistics of held-out pairs: an interval for a share, a difference of means, a rank correlation.

use serde::Serialize;

/// The 97.5 % quantile of the standard normal distribution: an interval of 95 % has this many standard errors on
/// each side.
pub const Z: f64 = 1.959_963_984_540_054;

/// An interval that holds the true value with a confidence of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// Wilson's score interval of a share: `hits` of `trials` (E. B. Wilson, "Probable Inference, the Law of
    /// Succession, and Statistical Inference", 1927). It stays within 0 and 1, and has a width even where all trials
    /// or none are hits. From 0 to 1 without trials.
    pub fn of_share(hits: usize, trials: usize) -> Interval {
        if trials == 0 {
            return Interval {
                low: 0.0,
                high: 1.0,
            };
        }
        let (hits, n) = (hits as f64, trials as f64);
        let share = hits / n;
        let spread = (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        let middle = share + Z * Z / (2.0 * n);
        // At a share of 0 or 1 an end is exact, and rounding must not move it.
        Interval {
            low: match hits == 0.0 {
                true => 0.0,
                false => (middle - Z * spread) / scale,
            },
            high: match hits == n {
                true => 1.0,
                false => (middle + Z * spread) / scale,
            },
        }
    }

    /// The interval of the mean of paired differences: mean ± Z · s / √n, with the sample's deviation s. `None` for
    /// fewer than two.
    pub fn of_mean(values: &[f64]) -> Option<Interval> {
        let n = values.len() as f64;
        let mean = mean(values.iter().copied())?;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let half = Z * (squares / (n - 1.0) / n).sqrt();
        (values.len() > 1).then_some(Interval {
            low: mean - half,
            high: mean + half,
        })
    }

    /// True if it holds this value.
    pub fn holds(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// The mean; `None` of nothing.
pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for value in values {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| sum / f64::from(count))
}

/// Spearman's rank correlation of two lists: Pearson's correlation of their ranks, where equal values share the mean
/// of their ranks (C. Spearman, "The Proof and Measurement of Association between Two Things", 1904). `None` if one
/// of them has no two different values, or a value that is not finite.
pub fn rank_correlation(xs: &[f64], ys: &[f64]) -> Option<f64> {
    if xs.iter().chain(ys).any(|v| !v.is_finite()) {
        return None;
    }
    let (xs, ys) = (ranks(xs), ranks(ys));
    // Ranks have the mean (n + 1) / 2, ties or not.
    let middle = (xs.len() as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - middle) * (b - middle)).sum::<f64>()
    };
    let scale = (product(&xs, &xs) * product(&ys, &ys)).sqrt();
    (scale > 0.0).then(|| product(&xs, &ys) / scale)
}

/// The ranks of values from 1; equal ones share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut done = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = done as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|&at| ranks[at] = rank);
        done += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    /// statsmodels 0.15's `proportion_confint(hits, trials, method="wilson")`.
    #[test]
    fn wilson_has_the_values_of_others() {
        for (hits, trials, low, high) in [
            (0, 10, 0.0, 0.277_532_799_862_889_3),
            (10, 10, 0.722_467_200_137_110_6, 1.0),
            (7, 10, 0.396_778_147_461_145_4, 0.892_208_732_593_698_9),
            (151, 160, 0.896_563_803_541_053_3, 0.970_127_698_244_236),
        ] {
            let found = Interval::of_share(hits, trials);
            assert_abs_diff_eq!(found.low, low, epsilon = 1e-9);
            assert_abs_diff_eq!(found.high, high, epsilon = 1e-9);
        }
        let none = Interval::of_share(0, 0);
        assert_eq!((none.low, none.high), (0.0, 1.0));
    }

    #[test]
    fn ranks_of_equal_values_are_shared() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    }

    /// scipy 1.17's `spearmanr`.
    #[test]
    fn rank_correlation_has_scipys_values() {
        let found = rank_correlation(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0]);
        assert_abs_diff_eq!(found.unwrap(), 0.820_782_681_668_123_3, epsilon = 1e-12);
        assert_eq!(rank_correlation(&[1.0, 2.0], &[4.0, 3.0]), Some(-1.0));
        assert_eq!(rank_correlation(&[1.0, 1.0], &[4.0, 3.0]), None);
        assert_eq!(rank_correlation(&[], &[]), None);
        assert_eq!(rank_correlation(&[1.0, f64::NAN], &[4.0, 3.0]), None);
    }

    #[test]
    fn the_interval_of_a_mean() {
        let found = Interval::of_mean(&[1.0, 0.0, -1.0, 2.0]).unwrap();
        // The deviation is √(5/3), and its error √(5/12).
        assert_abs_diff_eq!(
            found.low,
            0.5 - Z * (5.0_f64 / 12.0).sqrt(),
            epsilon = 1e-12
        );
        assert!(found.holds(0.5) && !found.holds(2.0));
        assert_eq!(Interval::of_mean(&[1.0]), None);
    }
}
