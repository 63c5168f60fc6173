//! Arithmetic over slices with the widest vector instructions of the CPU.
//!
//! A program is built for the oldest CPU of its kind. `#[multiversion]` also compiles a function for newer CPUs
//! and calls the best version for the CPU at hand. It compiles only code that is inlined into the function:
//! loops, and `#[inline(always)]` helpers like those below. A sum always runs in `LANES` running sums, so
//! that its bits do not depend on the version.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

/// The number of elements in one task of an elementwise loop, enough to outweigh the cost of a task.
pub const CHUNK: usize = 4096;

/// The number of rows in one task of a sum over rows.
const ROWS: usize = 64;

/// The number of running sums of one sum.
const LANES: usize = 16;

/// Σ term over the elements of the slices, up to the shortest slice's length, in f64.
#[inline(always)]
pub fn sum<const N: usize>(of: [&[f32]; N], term: impl Fn([f32; N]) -> f64) -> f64 {
    let [sum] = sums(of, |elements| [term(elements)]);
    sum
}

/// Several sums over the same elements: Σ of each of the terms.
#[inline(always)]
pub fn sums<const N: usize, const K: usize>(
    of: [&[f32]; N],
    terms: impl Fn([f32; N]) -> [f64; K],
) -> [f64; K] {
    let mut sums = [[0.0_f64; LANES]; K];
    let mut add = |lane: usize, elements: [f32; N]| {
        for (sums, term) in sums.iter_mut().zip(terms(elements)) {
            sums[lane] += term;
        }
    };
    let len = of.iter().map(|values| values.len()).min().unwrap_or(0);
    let parts = of.map(|values| values[..len].as_chunks::<LANES>());
    for i in 0..len / LANES {
        for lane in 0..LANES {
            add(lane, parts.map(|(blocks, _)| blocks[i][lane]));
        }
    }
    for lane in 0..len % LANES {
        add(lane, parts.map(|(_, rest)| rest[lane]));
    }
    sums.map(|lanes| lanes.iter().sum())
}

/// The largest element; −∞ of an empty slice. NaNs are ignored.
#[inline(always)]
pub fn max(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut peaks = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (peak, &value) in peaks.iter_mut().zip(block) {
            *peak = larger(*peak, value);
        }
    }
    let peak = peaks.into_iter().fold(f32::NEG_INFINITY, larger);
    rest.iter().copied().fold(peak, larger)
}

/// Σ a·b, in f64.
#[multiversion(targets = "simd")]
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    sum([a, b], |[a, b]| f64::from(a) * f64::from(b))
}

/// sums `[cols]` += Σ over the rows of x `[.., cols]`.
#[multiversion(targets = "simd")]
pub fn add_rows(x: &[f32], sums: &mut [f64]) {
    for row in x.chunks_exact(sums.len()) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
}

/// Sums `[len]` over rows. `add` adds a run of rows to its sums; the runs are summed on all cores and added up
/// in row order.
pub fn sum_rows(
    rows: usize,
    len: usize,
    add: impl Fn(Range<usize>, &mut [f64]) + Sync,
) -> Vec<f64> {
    let runs: Vec<Vec<f64>> = (0..rows.div_ceil(ROWS))
        .into_par_iter()
        .map(|run| {
            let mut sums = vec![0.0; len];
            add(run * ROWS..rows.min((run + 1) * ROWS), &mut sums);
            sums
        })
        .collect();
    let mut totals = vec![0.0; len];
    for sums in runs {
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += sum;
        }
    }
    totals
}

/// eˣ, within 1.1 units in the last place: 0 far below, ∞ far above, NaN of NaN.
///
/// eˣ = 2ⁿ · eʳ, where n is the integer nearest to x/ln 2. eʳ is its series, whose first omitted term is
/// below 1e-8 for |r| ≤ ln(2)/2.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these bounds the result is 0 or ∞. A comparison is one instruction, unlike `clamp`.
    const LOWEST: f32 = -105.0;
    const HIGHEST: f32 = 89.0;
    // ln 2 as a sum of two f32.
    const LN_2_HIGH: f32 = std::f32::consts::LN_2;
    const LN_2_LOW: f32 = (std::f64::consts::LN_2 - LN_2_HIGH as f64) as f32;
    // Adding 3·2²² leaves no bits for a fraction, so the last bits of the sum are the nearest integer.
    const ROUNDER: f32 = 12_582_912.0;

    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUNDER);
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
    let whole = shifted - ROUNDER;
    let r = whole.mul_add(-LN_2_LOW, whole.mul_add(-LN_2_HIGH, x));
    let mut series = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        series = r.mul_add(series, coefficient);
    }
    let above_one = (r * r).mul_add(series, r); // eʳ − 1
    // 2ⁿ as two factors, because 2ⁿ alone may be too small or too large for an f32.
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let (half, other_half) = (n >> 1, n.wrapping_sub(n >> 1));
    power(half).mul_add(above_one, power(half)) * power(other_half)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance from the true value, in units of the value's last place as an f32.
    fn ulps(ours: f32, truth: f64) -> f64 {
        let rounded = truth as f32;
        let unit = f64::from(rounded.next_up()) - f64::from(rounded);
        (f64::from(ours) - truth).abs() / unit
    }

    #[test]
    fn exp_is_within_a_unit_in_the_last_place_or_so() {
        let mut worst = 0.0_f64;
        for i in -1_049_000..=887_000 {
            let x = i as f32 * 1e-4;
            worst = worst.max(ulps(exp(x), f64::from(x).exp()));
        }
        assert!(worst <= 1.1, "{worst}");
    }

    #[test]
    fn exp_far_out_is_zero_or_infinity() {
        assert_eq!([-106.0, -1e30, f32::NEG_INFINITY].map(exp), [0.0; 3]);
        assert_eq!([88.8, 1e30, f32::INFINITY].map(exp), [f32::INFINITY; 3]);
        assert_eq!([0.0, -0.0, 1e-30].map(exp), [1.0; 3]);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_peaks_see_every_element() {
        for len in [0, 1, 15, 16, 17, 100] {
            let (ones, more) = (vec![1.0; len], vec![1.0; len + 20]);
            assert_eq!(dot(&ones, &more), len as f64);
            for peak in 0..len {
                let mut values = vec![-2.0; len];
                values[peak] = -1.0;
                assert_eq!(max(&values), -1.0, "{peak} of {len}");
            }
        }
        assert_eq!(max(&[]), f32::NEG_INFINITY);
    }

    #[test]
    fn rows_are_added_up() {
        for rows in [1, ROWS, 2 * ROWS + 5] {
            let x: Vec<f32> = (0..3 * rows).map(|i| i as f32).collect(); // [rows, 3]
            let sums = sum_rows(rows, 3, |rows, sums| {
                add_rows(&x[3 * rows.start..3 * rows.end], sums);
            });
            let expected = |c| (0..rows).map(|r| (3 * r + c) as f64).sum::<f64>();
            assert_eq!(sums, [0, 1, 2].map(expected), "{rows} rows");
        }
    }
}
