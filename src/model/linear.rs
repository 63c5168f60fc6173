//! A linear layer on a device: the ops that both walks record for it, shard by shard.
//!
//! y = x · W + bias + scale · (x · A) · B. A matrix may be cut into row shards. A product with a shard reads
//! the matching columns of the input, and adds to the result of the products before it.

use super::gpt2::{Adapter, Linear};
use super::tensors::{Shard, Tensor};
use super::workspace::LowRank;
use crate::buffer::Buffer;
use crate::ops::linear::{self, Bias, Nn, NnGelu, Nt, NtGelu, Shape, Sum, Tn};
use crate::recording::Recording;

/// The rows of a pass through a layer, and the scratch of its adapter.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// The number of rows.
    pub count: usize,
    /// The row of the output that belongs to row 0 of the input; above 0 in generation.
    pub first: usize,
    /// Scratch of the adapters; `None` if the model has no adapters.
    pub low_rank: Option<&'a LowRank>,
}

impl Rows<'_> {
    /// The scratch for x · A and its gradient.
    ///
    /// # Panics
    /// If the workspace was made for a layout without adapters: a mistake of the caller.
    fn low_rank(&self) -> &LowRank {
        self.low_rank.expect("made for a layout with adapters")
    }
}

/// The row shards of a weight, each with its number and the shape of its product.
fn shards(weight: &Tensor, rows: usize) -> impl Iterator<Item = (usize, Shape, &Shard)> {
    let shape = Shape::whole(rows, weight.rows, weight.cols);
    let shards = weight.shards.iter().enumerate();
    shards.map(move |(s, shard)| (s, shape.shard(shard.rows.clone()), shard))
}

/// One of the products that add up to a layer's output.
struct Product {
    op: Nn,
    shape: Shape,
    sum: Sum,
}

impl Linear<Tensor> {
    /// y `[rows, out]` = the layer's output for x `[rows, in]`, plus `residual`, which is laid out like y.
    pub(super) fn forward(
        &self,
        rec: &mut Recording,
        x: Buffer,
        y: Buffer,
        residual: Option<Buffer>,
        rows: Rows,
    ) {
        for Product { op, shape, sum } in self.products(rec, x, y, residual, rows) {
            linear::nn(rec, &op, shape, sum);
        }
    }

    /// y `[rows, out]` = the layer's output for x `[rows, in]`, and activated = gelu(y). The last product
    /// completes both.
    pub(super) fn forward_gelu(
        &self,
        rec: &mut Recording,
        x: Buffer,
        y: Buffer,
        activated: Buffer,
        rows: Rows,
    ) {
        let mut products = self.products(rec, x, y, None, rows);
        let last = products.pop();
        for Product { op, shape, sum } in products {
            linear::nn(rec, &op, shape, sum);
        }
        if let Some(Product { op, shape, sum }) = last {
            let op = NnGelu {
                x: op.x,
                weight: op.weight,
                bias: op.bias,
                y,
                activated,
            };
            linear::nn_gelu(rec, &op, shape, sum);
        }
    }

    /// The products of the layer's output: with each shard of the weight, and with each shard of the adapter's B.
    /// Records x · A before.
    fn products(
        &self,
        rec: &mut Recording,
        x: Buffer,
        y: Buffer,
        residual: Option<Buffer>,
        rows: Rows,
    ) -> Vec<Product> {
        let mut products = Vec::new();
        for (s, shape, shard) in shards(&self.weight, rows.count) {
            let op = Nn {
                x,
                weight: shard.buffer,
                bias: self.bias.as_ref().filter(|_| s == 0).map(Tensor::whole),
                residual: residual.filter(|_| s == 0),
                y,
                first_row: rows.first,
            };
            let sum = Sum::first(s == 0);
            products.push(Product { op, shape, sum });
        }
        if let Some(adapter) = &self.adapter {
            adapter.narrow(rec, x, rows);
            for (_, shape, shard) in shards(&adapter.b, rows.count) {
                let op = Nn {
                    x: rows.low_rank().narrow,
                    weight: shard.buffer,
                    bias: None,
                    residual: None,
                    y,
                    first_row: rows.first,
                };
                let sum = adapter.sum(true);
                products.push(Product { op, shape, sum });
            }
        }
        products
    }

    /// Overwrites dx `[rows, in]`, the gradient of the layer's input, from dy `[rows, out]`. Without dx it records only
    /// what [`Linear::backward_params`] needs.
    pub(super) fn backward_input(
        &self,
        rec: &mut Recording,
        dy: Buffer,
        dx: Option<Buffer>,
        rows: Rows,
    ) {
        if let Some(adapter) = &self.adapter {
            adapter.narrow_gradient(rec, dy, rows);
        }
        let Some(dx) = dx else {
            return;
        };
        for (_, shape, shard) in shards(&self.weight, rows.count) {
            let op = Nt {
                dy,
                weight: shard.buffer,
                dx,
            };
            linear::nt(rec, &op, shape, Sum::SET);
        }
        if let Some(adapter) = &self.adapter {
            for (_, shape, shard) in shards(&adapter.a, rows.count) {
                let op = Nt {
                    dy: rows.low_rank().dnarrow,
                    weight: shard.buffer,
                    dx,
                };
                linear::nt(rec, &op, shape, Sum::ADD);
            }
        }
    }

    /// For a layer whose input is gelu(wide): overwrites dwide `[rows, in]`, the gradient of wide, from dy
    /// `[rows, out]`, and recomputes activated = gelu(wide), which the forward pass did not keep. The last product
    /// of each column completes both.
    pub(super) fn backward_input_gelu(
        &self,
        rec: &mut Recording,
        dy: Buffer,
        gelu: &Gelu,
        rows: Rows,
    ) {
        let nt = |rec: &mut Recording, dy, shard: &Shard, shape, sum| {
            let op = Nt {
                dy,
                weight: shard.buffer,
                dx: gelu.dwide,
            };
            linear::nt(rec, &op, shape, sum);
        };
        let nt_gelu = |rec: &mut Recording, dy, shard: &Shard, shape, sum| {
            let op = NtGelu {
                dy,
                weight: shard.buffer,
                wide: gelu.wide,
                dwide: gelu.dwide,
                activated: gelu.activated,
            };
            linear::nt_gelu(rec, &op, shape, sum);
        };
        let Some(adapter) = &self.adapter else {
            for (_, shape, shard) in shards(&self.weight, rows.count) {
                nt_gelu(rec, dy, shard, shape, Sum::SET);
            }
            return;
        };
        for (_, shape, shard) in shards(&self.weight, rows.count) {
            nt(rec, dy, shard, shape, Sum::SET);
        }
        adapter.narrow_gradient(rec, dy, rows);
        for (_, shape, shard) in shards(&adapter.a, rows.count) {
            nt_gelu(rec, rows.low_rank().dnarrow, shard, shape, Sum::ADD);
        }
    }

    /// Adds to the gradients of the layer's trainable parameters: x `[rows, in]` is the layer's input, dy
    /// `[rows, out]` the gradient of its output. With an adapter, the gradient of the input must come before.
    pub(super) fn backward_params(
        &self,
        rec: &mut Recording,
        x: Buffer,
        dy: Buffer,
        grads: &Linear<Option<Tensor>>,
        rows: Rows,
    ) {
        let count = rows.count;
        if let Some(dweight) = &grads.weight {
            add_weight_gradient(rec, x, dy, dweight, Sum::ADD, count);
        }
        if let Some(Some(dbias)) = &grads.bias {
            let op = Bias {
                dy,
                dbias: dbias.whole(),
            };
            linear::bias(
                rec,
                &op,
                Shape::whole(count, self.weight.rows, self.weight.cols),
            );
        }
        let (Some(adapter), Some(dadapter)) = (&self.adapter, &grads.adapter) else {
            return;
        };
        let LowRank { narrow, dnarrow } = *rows.low_rank();
        if let Some(da) = &dadapter.a {
            add_weight_gradient(rec, x, dnarrow, da, Sum::ADD, count);
        }
        if let Some(db) = &dadapter.b {
            // Other layers overwrote the scratch since the forward pass.
            adapter.narrow(rec, x, rows);
            add_weight_gradient(rec, narrow, dy, db, adapter.sum(true), count);
        }
    }
}

/// dw `[in, out]` += scale · xᵀ · dy.
fn add_weight_gradient(
    rec: &mut Recording,
    x: Buffer,
    dy: Buffer,
    dw: &Tensor,
    sum: Sum,
    rows: usize,
) {
    for (_, shape, shard) in shards(dw, rows) {
        let op = Tn {
            x,
            dy,
            dw: shard.buffer,
        };
        linear::tn(rec, &op, shape, sum);
    }
}

/// The activations around a GELU.
pub(super) struct Gelu {
    /// `[rows, F]`: its input.
    pub wide: Buffer,
    /// `[rows, F]`: the gradient of its input.
    pub dwide: Buffer,
    /// `[rows, F]`: its output.
    pub activated: Buffer,
}

impl Adapter<Tensor> {
    fn sum(&self, accumulate: bool) -> Sum {
        Sum {
            accumulate,
            scale: self.scale,
        }
    }

    /// narrow `[rows, rank]` = x `[rows, in]` · A.
    fn narrow(&self, rec: &mut Recording, x: Buffer, rows: Rows) {
        for (s, shape, shard) in shards(&self.a, rows.count) {
            let op = Nn {
                x,
                weight: shard.buffer,
                bias: None,
                residual: None,
                y: rows.low_rank().narrow,
                first_row: 0,
            };
            linear::nn(rec, &op, shape, Sum::first(s == 0));
        }
    }

    /// dnarrow `[rows, rank]` = scale · dy `[rows, out]` · Bᵀ.
    fn narrow_gradient(&self, rec: &mut Recording, dy: Buffer, rows: Rows) {
        for (_, shape, shard) in shards(&self.b, rows.count) {
            let op = Nt {
                dy,
                weight: shard.buffer,
                dx: rows.low_rank().dnarrow,
            };
            linear::nt(rec, &op, shape, self.sum(false));
        }
    }
}
