//! The cases that compare a device with the twins of the products.

use super::{
    Bias, Nn, NnGelu, Nt, NtGelu, Shape, Sum, Tn, bias, nn, nn_gelu, nt, nt_gelu, nt_or_row, tn,
};
use crate::buffer::Buffer;
use crate::ops::case::Case;

/// Cases of sizes one below and one above the tiles' sizes, of whole weights and of second shards, of sizes that
/// are multiples of 4, which some variants need, and of sums longer than the blocks in which they run.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, ins, outs, first_in) in [
        (1, 1, 1, 0),
        (1, 4, 4, 0),
        (1, 68, 20, 0),
        (1, 300, 132, 0),
        (1, 300, 132, 44),
        (1, 1100, 36, 0),
        (3, 7, 9, 0),
        (3, 7, 9, 2),
        (33, 129, 65, 0),
        (33, 129, 65, 43),
        (65, 300, 257, 0),
        (65, 300, 257, 100),
        (130, 260, 132, 0),
        (67, 136, 132, 4),
        (5, 1100, 12, 0),
        (5, 9000, 12, 0),
        (9, 8, 1100, 0),
        (1100, 12, 8, 0),
    ] {
        let shape = Shape::whole(rows, ins, outs).shard(first_in..ins);
        // The product with a shard other than the first adds to the products with the shards before.
        let sum = Sum::first(first_in == 0);
        nn_cases(&mut cases, shape, sum, "");
        nt_cases(&mut cases, shape, sum, "");
        tn_cases(&mut cases, shape, Sum::ADD, "");
    }
    // The products of an adapter, s · (x · A) · B: scaled sums that overwrite the result or add to it.
    for (rows, ins, outs) in [(9, 7, 5), (66, 16, 132), (33, 1300, 68), (1, 16, 132)] {
        let shape = Shape::whole(rows, ins, outs);
        for accumulate in [false, true] {
            let sum = Sum {
                accumulate,
                scale: 0.37,
            };
            let how = if accumulate {
                " scaled, added"
            } else {
                " scaled"
            };
            nn_cases(&mut cases, shape, sum, how);
            nt_cases(&mut cases, shape, sum, how);
            tn_cases(&mut cases, shape, sum, how);
        }
    }
    cases
}

fn label(shape: Shape) -> String {
    let Shape {
        rows,
        x_cols,
        first_in,
        outs,
        ..
    } = shape;
    format!("{rows}x{x_cols}x{outs} from {first_in}")
}

/// Adds the result of `count` words to the case: NaNs if the product overwrites it, numbers if it accumulates.
fn result(case: Case, count: usize, sum: Sum) -> Case {
    match sum.accumulate {
        false => case.output(count),
        true => case.inout(count, 1.0),
    }
}

fn nn_cases(cases: &mut Vec<Case>, shape: Shape, sum: Sum, how: &str) {
    let first_row = shape.first_in;
    let y = (first_row + shape.rows) * shape.outs;
    let operands = |what: &str| {
        Case::new(format!("{what} {}{how}", label(shape)))
            .input(shape.rows * shape.x_cols, 1.0)
            .input(shape.ins * shape.outs, 1.0)
            .input(shape.outs, 1.0)
    };
    let op = move |b: &[Buffer], residual: Option<Buffer>, y: Buffer| Nn {
        x: b[0],
        weight: b[1],
        bias: Some(b[2]),
        residual,
        y,
        first_row,
    };
    cases.push(result(operands("nn"), y, sum).record(move |rec, b| {
        nn(rec, &op(b, None, b[3]), shape, sum);
    }));
    cases.push(
        result(operands("nn with residual").input(y, 1.0), y, sum).record(move |rec, b| {
            nn(rec, &op(b, Some(b[3]), b[4]), shape, sum);
        }),
    );
    let plain = result(operands("nn without bias"), y, sum);
    cases.push(plain.record(move |rec, b| {
        let op = Nn {
            bias: None,
            ..op(b, None, b[3])
        };
        nn(rec, &op, shape, sum);
    }));
    let count = shape.rows * shape.outs;
    let gelu = result(operands("nn_gelu"), count, sum).output(count);
    cases.push(gelu.record(move |rec, b| {
        let op = NnGelu {
            x: b[0],
            weight: b[1],
            bias: Some(b[2]),
            y: b[3],
            activated: b[4],
        };
        nn_gelu(rec, &op, shape, sum);
    }));
}

fn nt_cases(cases: &mut Vec<Case>, shape: Shape, sum: Sum, how: &str) {
    let (rows, outs) = (shape.rows, shape.outs);
    let (x, weight, dy) = (rows * shape.x_cols, shape.ins * outs, rows * outs);
    let case = |what: &str| {
        Case::new(format!("{what} {}{how}", label(shape)))
            .input(dy, 1.0)
            .input(weight, 1.0)
    };
    let op = |b: &[Buffer]| Nt {
        dy: b[0],
        weight: b[1],
        dx: b[2],
    };
    cases.push(result(case("nt"), x, sum).record(move |rec, b| nt(rec, &op(b), shape, sum)));
    if rows == 1 {
        let of_row = result(case("nt of one row"), x, sum);
        cases.push(of_row.record(move |rec, b| nt_or_row(rec, &op(b), shape, sum)));
    }
    // Large inputs, for which tanh overflows on some drivers. A case of a single element has a small input: at a
    // large input the slopes 0 and 1e-30 are both right, but their relative distance is 1.
    let amplitude = if x > 1 { 30.0 } else { 3.0 };
    let gelu = result(case("nt_gelu").input(x, amplitude), x, sum).output(x);
    cases.push(gelu.record(move |rec, b| {
        let op = NtGelu {
            dy: b[0],
            weight: b[1],
            wide: b[2],
            dwide: b[3],
            activated: b[4],
        };
        nt_gelu(rec, &op, shape, sum);
    }));
}

fn tn_cases(cases: &mut Vec<Case>, shape: Shape, sum: Sum, how: &str) {
    let (rows, outs) = (shape.rows, shape.outs);
    let (x, weight, dy) = (rows * shape.x_cols, shape.ins * outs, rows * outs);
    let case = |what: &str| Case::new(format!("{what} {}{how}", label(shape)));
    let operands = case("tn").input(x, 1.0).input(dy, 1.0);
    cases.push(result(operands, weight, sum).record(move |rec, b| {
        let op = Tn {
            x: b[0],
            dy: b[1],
            dw: b[2],
        };
        tn(rec, &op, shape, sum);
    }));
    let bias_case = case("bias").input(dy, 1.0).inout(outs, 1.0);
    cases.push(bias_case.record(move |rec, b| {
        let op = Bias {
            dy: b[0],
            dbias: b[1],
        };
        bias(rec, &op, shape);
    }));
}
