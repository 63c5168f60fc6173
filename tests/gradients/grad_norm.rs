//! Norm and clip factor, and the watch for what is not finite.

use gpt2_dpo::ops::grad_norm;
use gpt2_dpo::recording::Buffer;

use super::{Twin, assert_close};

/// Sums the gradients' squares into `norm`, and gives norm, clip factor, broken.
fn twin(t: &mut Twin, gradients: &[Vec<f64>], norm: Buffer, max_norm: f32) -> Vec<f64> {
    let slots = gradients.iter().map(|g| grad_norm::shares(g.len())).sum();
    let partials = t.output(slots);
    let mut slot = 0;
    for gradient in gradients {
        let buffer = t.input(gradient);
        grad_norm::sum_squares(&mut t.rec, (buffer, partials), gradient.len(), slot);
        slot += grad_norm::shares(gradient.len());
    }
    grad_norm::finish(&mut t.rec, (partials, norm), slots, max_norm);
    t.run();
    t.read(norm)
}

#[test]
fn norm_and_clip_factor() {
    for amplitude in [1e-3, 1.0] {
        for max_norm in [0.0, 1.0, 1000.0_f32] {
            let mut t = Twin::new();
            let gradients = [1, 1025, 5000].map(|count| t.random(count, amplitude));
            let fresh = t.input(&[0.0; grad_norm::NORM]);
            let ours = twin(&mut t, &gradients, fresh, max_norm);
            let norm = gradients.concat().iter().map(|g| g * g).sum::<f64>().sqrt();
            // As torch.nn.utils.clip_grad_norm_ has it; 0 switches clipping off.
            let clip = match f64::from(max_norm) {
                0.0 => 1.0,
                max_norm => (max_norm / (norm + 1e-6)).min(1.0),
            };
            assert_close("norm", &ours[..1], &[norm]);
            assert_close("clip", &ours[1..2], &[clip]);
            assert_eq!(
                ours[1] == 1.0,
                clip == 1.0,
                "clip is exactly 1 where nothing is clipped"
            );
            assert_eq!(ours[2], 0.0, "broken");
        }
    }
}

#[test]
fn finds_every_nan_and_infinity_and_remembers() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (g, i) in [(0, 0), (0, 1024), (0, 2999), (1, 0), (1, 4)] {
            let mut t = Twin::new();
            let clean = [t.random(3000, 1.0), t.random(5, 1.0)];
            let norm = t.input(&[0.0; grad_norm::NORM]);
            assert_eq!(twin(&mut t, &clean, norm, 1.0)[2], 0.0);
            let mut dirty = clean.clone();
            dirty[g][i] = bad;
            assert_eq!(
                twin(&mut t, &dirty, norm, 1.0)[2],
                1.0,
                "{bad} in {g} at {i}"
            );
            assert_eq!(twin(&mut t, &clean, norm, 1.0)[2], 1.0, "forgotten");
        }
    }
}
