//! The distance between a device's results and the right ones.

use std::fmt;

/// A quiet NaN that fills an output until a kernel writes it.
pub(crate) const POISON: u32 = 0x7fc0_dead;

/// The distance between two results of one case.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Distance {
    /// ‖a − b‖ / ‖b‖, the largest over the outputs.
    pub relative_l2: f64,
    /// max |a − b| / max |b|, the largest over the outputs.
    pub relative_max: f64,
}

impl Distance {
    /// A distance that exceeds every bound.
    pub const NAN: Distance = Distance {
        relative_l2: f64::NAN,
        relative_max: f64::NAN,
    };

    /// The bound of every f32 kernel on every device: a few f32 roundings over sums of some hundred terms.
    pub const BOUND: Distance = Distance {
        relative_l2: 2e-6,
        relative_max: 2e-5,
    };

    /// The bound of matrix units, whose twins round operands to f16 as the units do. Some units truncate sums
    /// where f32 would round them, always in one direction and once every few terms. An operand rounded
    /// otherwise than in the twin would give ten times this distance.
    pub const MATRIX_UNITS: Distance = Distance {
        relative_l2: 2e-5,
        relative_max: 2e-4,
    };

    /// The bound on real data, whose sums may cancel: there the rounding of a correct kernel can weigh more
    /// than in the made-up cases. A wrong kernel differs in the leading digits.
    pub const REAL: Distance = Distance {
        relative_l2: 1e-4,
        relative_max: 1e-3,
    };

    /// The larger of each of the two numbers; NaN counts as largest.
    pub fn worse(self, other: Distance) -> Distance {
        let worse = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
        Distance {
            relative_l2: worse(self.relative_l2, other.relative_l2),
            relative_max: worse(self.relative_max, other.relative_max),
        }
    }

    /// True if both numbers are within `bound`; NaN never is.
    pub fn within(&self, bound: &Distance) -> bool {
        self.relative_l2 <= bound.relative_l2 && self.relative_max <= bound.relative_max
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Distance {
            relative_l2,
            relative_max,
        } = self;
        write!(f, "relative L2 {relative_l2:.1e}, max {relative_max:.1e}")
    }
}

/// Compares `after` with `twin`, two results computed from the buffers `before`. Only elements that at least one
/// of the two changed count: the unchanged ones are equal, and would hide an error in a few elements. `None` if
/// neither changed an element.
pub(crate) fn distance_of_changes<'a>(
    before: impl Iterator<Item = &'a [u32]>,
    after: impl Iterator<Item = &'a [u32]>,
    twin: impl Iterator<Item = &'a [u32]>,
) -> Option<Distance> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for ((before, after), twin) in before.zip(after).zip(twin) {
        let values = before.iter().zip(after).zip(twin);
        let changed = values.filter(|&((before, after), twin)| after != before || twin != before);
        let pairs =
            changed.map(|((_, &after), &twin)| (f32::from_bits(after), f32::from_bits(twin)));
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.unzip();
        ours.push(a);
        theirs.push(b);
    }
    let any = theirs.iter().any(|values| !values.is_empty());
    any.then(|| distance(&ours, &theirs))
}

/// Compares `ours` with `reference`. A NaN or an infinity in either makes the distance NaN, and so does a
/// difference in length. Elements count as equal if both still hold the poison of
/// [`Case::output`](crate::ops::case::Case::output).
pub fn distance(ours: &[Vec<f32>], reference: &[Vec<f32>]) -> Distance {
    if ours.len() != reference.len() {
        return Distance::NAN;
    }
    let mut total = Distance::default();
    for (a, b) in ours.iter().zip(reference) {
        if a.len() != b.len() {
            return Distance::NAN;
        }
        let (mut error, mut norm, mut max_error, mut max) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
        for (&a, &b) in a.iter().zip(b) {
            // Neither result wrote this element: both still hold the poison.
            if a.to_bits() == POISON && b.to_bits() == POISON {
                continue;
            }
            let (a, b) = (f64::from(a), f64::from(b));
            let d = a - b;
            if !d.is_finite() {
                return Distance::NAN;
            }
            error += d * d;
            norm += b * b;
            max_error = max_error.max(d.abs());
            max = max.max(b.abs());
        }
        if max_error > 0.0 {
            total.relative_l2 = total.relative_l2.max((error / norm).sqrt());
            total.relative_max = total.relative_max.max(max_error / max);
        }
    }
    total
}
