//! GPT-2's initial weights, for training from scratch.

use std::f64::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::Weights;
use crate::model::Dims;
use crate::model::params::{self, Param, Role};

/// Standard deviation of embeddings and matrices.
const STD: f64 = 0.02;

/// GPT-2's initial weights. Embeddings and matrices are normal with standard deviation 0.02. The projections
/// onto the residual stream (`c_proj`) have a standard deviation smaller by √(2·n_layer), so that the variance
/// of the stream does not grow with depth. Biases are 0, layernorms 1 and 0.
///
/// The weights of a seed are the same on every platform and for any number of threads: parameter `i` of the
/// table draws from stream `i` of ChaCha8, in f64, and is rounded once to f32. Only the platform's `ln`, `sin`
/// and `cos` may differ by the last bit of an f64, which seldom changes the f32.
pub fn initial(dims: &Dims, seed: u64) -> Weights {
    let fill = |(stream, param): (usize, &Param)| match param.role {
        Role::Bias | Role::Shift => vec![0.0; param.len()],
        Role::Gain => vec![1.0; param.len()],
        Role::Embedding | Role::Matrix => {
            let std = if param.name.ends_with(".c_proj.weight") {
                STD / (2.0 * dims.n_layer as f64).sqrt()
            } else {
                STD
            };
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream as u64);
            normal(&mut rng, std, param.len())
        }
    };
    let table = params::table(dims);
    Weights {
        tensors: table.par_iter().enumerate().map(fill).collect(),
    }
}

/// `count` draws from a normal distribution with mean 0, two at a time by the Box-Muller transform.
fn normal(rng: &mut ChaCha8Rng, std: f64, count: usize) -> Vec<f32> {
    let mut out = vec![0.0; count];
    for pair in out.chunks_mut(2) {
        // 1 − u lies in (0, 1]: its logarithm is finite.
        let radius = std * (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
        let (sin, cos) = (TAU * uniform(rng)).sin_cos();
        for (value, direction) in pair.iter_mut().zip([cos, sin]) {
            *value = (radius * direction) as f32;
        }
    }
    out
}

/// A multiple of 2⁻⁵³ in [0, 1).
pub(super) fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims() -> Dims {
        Dims {
            vocab_size: 501,
            n_positions: 33,
            n_embd: 64,
            n_layer: 8,
            n_head: 4,
            n_inner: 256,
            epsilon: 1e-5,
        }
    }

    #[test]
    fn every_parameter_has_the_distribution_of_its_role() {
        let dims = dims();
        let weights = initial(&dims, 13);
        for (param, values) in params::table(&dims).iter().zip(&weights.tensors) {
            assert_eq!(values.len(), param.len(), "{}", param.name);
            let expected = match param.role {
                Role::Gain => {
                    assert!(values.iter().all(|&x| x == 1.0), "{}", param.name);
                    continue;
                }
                Role::Bias | Role::Shift => 0.0,
                _ if param.name.ends_with("c_proj.weight") => 0.02 / 4.0,
                _ => 0.02,
            };
            let n = values.len() as f64;
            let mean = values.iter().map(|&x| x as f64).sum::<f64>() / n;
            let std = (values.iter().map(|&x| (x as f64).powi(2)).sum::<f64>() / n).sqrt();
            // The bounds are five standard errors.
            assert!(mean.abs() <= 5.0 * expected / n.sqrt(), "{}", param.name);
            assert!(
                (std - expected).abs() <= 5.0 * expected / (2.0 * n).sqrt(),
                "{}: {std}",
                param.name
            );
        }
    }

    #[test]
    fn a_normal_has_normal_tails() {
        let draws = normal(&mut ChaCha8Rng::seed_from_u64(1), 1.0, 100_001);
        let beyond = |limit: f32| draws.iter().filter(|x| x.abs() > limit).count() as f64 / 1e5;
        assert!((beyond(1.0) - 0.3173).abs() < 0.006, "{}", beyond(1.0));
        assert!((beyond(2.0) - 0.0455).abs() < 0.003, "{}", beyond(2.0));
        assert!(draws.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn the_seed_decides() {
        let dims = dims();
        assert_eq!(initial(&dims, 7), initial(&dims, 7));
        let (a, b) = (initial(&dims, 7), initial(&dims, 8));
        assert_ne!(a.tensors[0], b.tensors[0]);
        assert_ne!(a.tensors[0][..64], a.tensors[1][..64], "streams differ");
    }
}
