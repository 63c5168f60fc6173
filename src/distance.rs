//! How far what a device computed is from what it should have.

use std::fmt;

/// A quiet NaN: what an output holds until a kernel writes it.
pub(crate) const POISON: u32 = 0x7fc0_dead;

/// How far two outcomes of one case are apart.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Distance {
    /// ‖a − b‖ / ‖b‖, the largest over the outputs.
    pub relative_l2: f64,
    /// max |a − b| / max |b|, the largest over the outputs.
    pub relative_max: f64,
}

impl Distance {
    /// Within no bound.
    pub const NAN: Distance = Distance {
        relative_l2: f64::NAN,
        relative_max: f64::NAN,
    };

    /// The bound that every kernel is held to on every device: a few roundings of f32 over sums of
    /// some hundred terms.
    pub const BOUND: Distance = Distance {
        relative_l2: 2e-6,
        relative_max: 2e-5,
    };

    /// The bound for matrix units, beside twins that round to f16 as they do. Some cut sums off where f32
    /// would round them, all in one direction, and once for every few terms; rounding an operand more
    /// or less than the twin would show tenfold.
    pub const MATRIX_UNITS: Distance = Distance {
        relative_l2: 2e-5,
        relative_max: 2e-4,
    };

    /// The bound on real data, which may cancel: the rounding of a right kernel can show more than in the
    /// made-up cases. A wrong one is off in the leading digits.
    pub const REAL: Distance = Distance {
        relative_l2: 1e-4,
        relative_max: 1e-3,
    };

    /// The worse of the two in each number; NaN is worst.
    pub fn worse(self, other: Distance) -> Distance {
        let worse = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
        Distance {
            relative_l2: worse(self.relative_l2, other.relative_l2),
            relative_max: worse(self.relative_max, other.relative_max),
        }
    }

    /// True if within `bound`; a NaN is not.
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

/// Compares `after` with `twin`, two things that became of the buffers `before`. Only elements that either
/// changed count: the rest is equal, and would hide an error in few of them. `None` if neither changed
/// any.
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

/// Compares `ours` with `reference`. A NaN or an infinity in either makes the distance NaN, unless both
/// still hold in that place what [`Case::output`](crate::ops::case::Case::output) put there; so does a difference in length.
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
            // An element that neither was to write still holds the poison.
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
