//! The residual stream: y += x. Its backward pass is the identity: one gradient buffer serves both
//! branches.

use rayon::prelude::*;

use super::case::Case;
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Buffer, Grid, Recording, Work};

params! {
    struct Params { count: u32 }
}

kernel!(FORWARD, "residual", "forward", Params, forward_twin);
/// The entry points of `shaders/residual.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD];

/// y += x over `count` elements.
pub fn forward(rec: &mut Recording, x: Buffer, y: Buffer, count: usize) {
    let params = Params {
        count: count as u32,
    };
    let work = Work::new(count as u64, 3 * count);
    rec.push(&FORWARD, &[x, y], params, Grid::Items(count), work);
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (x, y) = (b.read::<f32>(0), b.write::<f32>(1));
    let count = p.count as usize;
    y[..count].par_iter_mut().zip(x).for_each(|(y, &x)| *y += x);
}

/// Sizes around a workgroup, and one large enough to fold the groups over two dimensions.
pub fn cases() -> Vec<Case> {
    [1, 257, 10_007, 256 * 65_536 + 3]
        .into_iter()
        .map(|count| {
            Case::new(format!("forward {count}"))
                .input(count, 1.0)
                .inout(count, 1.0)
                .record(move |rec, b| forward(rec, b[0], b[1], count))
        })
        .collect()
}
