//! The order in which an epoch visits its examples.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A permutation of `0..len`, fixed by `seed` and `epoch`. It is the same on every platform and with every
/// version of every library, because the shuffle is written out here.
pub fn shuffled(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch);
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        order.swap(last, below(&mut rng, last as u64 + 1) as usize);
    }
    order
}

/// Uniform in `0..n`. Numbers above the last multiple of `n` would favour small results, so such a
/// number is drawn again.
fn below(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    let end = u64::MAX - u64::MAX % n;
    loop {
        let drawn = rng.next_u64();
        if drawn < end {
            return drawn % n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_pinned() {
        let first = &shuffled(1000, 13, 0)[..10];
        assert_eq!(first, [938, 779, 747, 422, 536, 877, 372, 669, 593, 583]);
    }

    #[test]
    fn every_example_comes_once() {
        for len in [0, 1, 2, 3, 257] {
            let mut order = shuffled(len, 13, 4);
            order.sort();
            assert!(order.into_iter().eq(0..len));
        }
    }

    #[test]
    fn seeds_and_epochs_give_different_orders() {
        let order = shuffled(100, 13, 0);
        assert_eq!(order, shuffled(100, 13, 0));
        assert_ne!(order, shuffled(100, 13, 1));
        assert_ne!(order, shuffled(100, 14, 0));
    }

    #[test]
    fn every_permutation_is_about_as_likely() {
        let mut counts = std::collections::HashMap::new();
        for seed in 0..6000 {
            *counts.entry(shuffled(3, seed, 0)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(
            counts.values().all(|n| (850..1150).contains(n)),
            "{counts:?}"
        );
    }
}
