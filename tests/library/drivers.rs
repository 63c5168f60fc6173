//! What drivers compute. The kernels build on some of it, which this test holds every driver to; in the rest drivers
//! differ, and the test prints it: `docs/portability.md` has the table.
//!
//!     cargo test --release --test library drivers:: -- --nocapture

use crate::common;
use gpt2_dpo::engine::{Engine, EngineExt};
use gpt2_dpo::kernel::{Bindings, Kernel, Twin};
use gpt2_dpo::recording::Grid;
use gpt2_dpo::wgsl::Part;

const NAN: f32 = f32::NAN;
/// 2⁻¹².
const SMALL: f32 = 1.0 / 4096.0;

/// An expression in WGSL over the numbers `x`, `y` and `z`, which the compiler does not know.
struct Expression {
    wgsl: &'static str,
    at: [f32; 3],
}

const fn of(wgsl: &'static str, at: [f32; 3]) -> Expression {
    Expression { wgsl, at }
}

/// What kernels build on, with the result and how far from it a driver may be, relative to the larger of the result
/// and 1.
const RELIED_ON: &[(Expression, f64, f64)] = &[
    // The sum under a log is at least 1.
    (of("log(x)", [1.0, 0.0, 0.0]), 0.0, 4e-7),
    (of("log(x)", [1.000_001, 0.0, 0.0]), 9.5367386e-7, 4e-7),
    (of("log(x)", [1.5, 0.0, 0.0]), 0.405_465_108_108, 4e-7),
    (of("log(x)", [50257.0, 0.0, 0.0]), 10.824_905_009, 4e-7),
    (of("log(x)", [1e30, 0.0, 0.0]), 69.077_552_789, 4e-7),
    // Softmax: arguments are at most 0, and -1e30 stands for what is masked.
    (of("exp(x)", [0.0, 0.0, 0.0]), 1.0, 4e-7),
    (of("exp(x)", [-1.0, 0.0, 0.0]), 0.367_879_441, 4e-7),
    (of("exp(x) * y", [-80.0, 1e34, 0.0]), 0.180_485_139, 1e-5),
    (of("exp(x - y)", [-1e30, 3.0, 0.0]), 0.0, 0.0),
    // GELU bounds tanh's argument.
    (of("tanh(x)", [10.0, 0.0, 0.0]), 1.0, 0.0),
    (of("tanh(x)", [-10.0, 0.0, 0.0]), -1.0, 0.0),
    (of("tanh(x)", [0.5, 0.0, 0.0]), 0.462_117_157, 4e-6),
    // Layernorm and AdamW.
    (of("1.0 / sqrt(x)", [3.0, 0.0, 0.0]), 0.577_350_269, 4e-7),
    (of("x / y", [1.0, 3.0, 0.0]), 0.333_333_333, 2e-7),
    // Tests for NaN and infinity look at the bits, which travel.
    (
        of("select(0.0, 1.0, is_not_finite(x))", [NAN, 0.0, 0.0]),
        1.0,
        0.0,
    ),
    (
        of(
            "select(0.0, 1.0, is_not_finite(x))",
            [f32::NEG_INFINITY, 0.0, 0.0],
        ),
        1.0,
        0.0,
    ),
    (
        of("select(0.0, 1.0, is_not_finite(x))", [f32::MAX, 0.0, 0.0]),
        0.0,
        0.0,
    ),
    (
        of(
            "select(0.0, 1.0, is_not_finite(x * clamp(x, -y, y)))",
            [NAN, 10.0, 0.0],
        ),
        1.0,
        0.0,
    ),
];

/// Where drivers differ.
const DIFFERS: &[Expression] = &[
    of(
        "fma(x, y, z)",
        [1.0 + SMALL, 1.0 + SMALL, -1.0 - 2.0 * SMALL],
    ),
    of("x * y + z", [1.0 + SMALL, 1.0 + SMALL, -1.0 - 2.0 * SMALL]),
    of(
        "(x - ((x + y) - ((x + y) - x))) + (y - ((x + y) - x))",
        [1.0, 1e-8, 0.0],
    ),
    of("x * y", [1e-40, 0.5, 0.0]),
    of("exp(x)", [-88.0, 0.0, 0.0]),
    of("log(x)", [0.0, 0.0, 0.0]),
    of("log(x)", [-1.0, 0.0, 0.0]),
    of("log(x)", [NAN, 0.0, 0.0]),
    of("log(x)", [1.0 - f32::EPSILON / 2.0, 0.0, 0.0]),
    of("log(x)", [1.0 + f32::EPSILON, 0.0, 0.0]),
    of("tanh(x)", [100.0, 0.0, 0.0]),
    of("tanh(x)", [1e-4, 0.0, 0.0]),
    of("pow(x, y)", [10.0, 2.0, 0.0]),
    of("max(x, y)", [NAN, 1.0, 0.0]),
    of("max(x, y)", [1.0, NAN, 0.0]),
    of("max(max(x, y), z)", [5.0, NAN, 1.0]),
    of("clamp(x, -y, y)", [NAN, 1.0, 0.0]),
    of("select(x, y, x > y)", [NAN, 127.0, 0.0]),
    of("select(0.0, 1.0, x != x)", [NAN, 0.0, 0.0]),
];

fn no_twin(_: &[u8], _: Bindings) {}

/// A kernel that computes all expressions, each over its own three numbers.
fn kernel(expressions: &[&Expression]) -> &'static Kernel {
    let mut text = String::from(
        "struct Params { count: u32 }
        @group(0) @binding(0) var<uniform> params: Params;
        @group(0) @binding(1) var<storage, read> numbers: array<f32>;
        @group(0) @binding(2) var<storage, read_write> results: array<f32>;
        fn is_not_finite(v: f32) -> bool { return (bitcast<u32>(v) & 0x7f800000u) == 0x7f800000u; }
        @compute @workgroup_size(1)
        fn forward() {
            if params.count == 0u { return; }\n",
    );
    for (i, expression) in expressions.iter().enumerate() {
        let number = |at: usize| format!("numbers[{}u]", 3 * i + at);
        text += &format!(
            "{{ let x = {}; let y = {}; let z = {}; results[{i}u] = {}; }}\n",
            number(0),
            number(1),
            number(2),
            expression.wgsl
        );
    }
    let parts = vec![Part {
        file: "drivers.wgsl",
        text: (text + "}\n").leak(),
    }];
    let twin = Twin::new(no_twin, common::layout_of_count);
    Box::leak(Box::new(Kernel::foreign(
        "drivers",
        "forward",
        parts.leak(),
        twin,
    )))
}

#[test]
fn compute_what_kernels_build_on() {
    let relied_on = RELIED_ON.iter().map(|(expression, ..)| expression);
    let expressions: Vec<&Expression> = relied_on.chain(DIFFERS).collect();
    let mut gpu = common::gpu();
    let numbers: Vec<f32> = expressions.iter().flat_map(|e| e.at).collect();
    let numbers = gpu.upload("numbers", &numbers).unwrap();
    let results = gpu
        .upload("results", &vec![77.0_f32; expressions.len()])
        .unwrap();
    let mut recording = gpu.recording();
    let one = Grid::Groups([1, 1, 1]);
    recording.push_foreign(kernel(&expressions), &[numbers, results], 1_u32, one);
    gpu.run(&recording).unwrap();
    let results: Vec<f32> = bytemuck::cast_vec(gpu.read(results).unwrap());
    for (expression, result) in expressions.iter().zip(&results) {
        println!("{} at {:?}: {result:e}", expression.wgsl, expression.at);
    }
    for ((expression, expected, most), result) in RELIED_ON.iter().zip(&results) {
        let error = (f64::from(*result) - expected).abs() / expected.abs().max(1.0);
        let name = format!("{} at {:?}", expression.wgsl, expression.at);
        assert!(error <= *most, "{name}: {result} is {error:e} off");
    }
}
