//! The share of the way from one buffer to the other.

use gpt2_dpo::ops::blend;

use super::{Twin, assert_close};

#[test]
fn a_share_of_the_way() {
    let mut t = Twin::new();
    let (x, y) = (t.random(37, 1.0), t.random(37, 1.0));
    for share in [0.25, 0.5, 1.0] {
        let (from, to) = (t.input(&x), t.input(&y));
        blend::forward(&mut t.rec, from, to, share as f32);
        t.run();
        let expected: Vec<f64> = x.iter().zip(&y).map(|(x, y)| y + share * (x - y)).collect();
        assert_close("blended", &t.read(to), &expected);
    }
}
