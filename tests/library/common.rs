//! Helpers that the integration tests share; each test binary uses some of them.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::data::{self, DEFAULT_TEMPLATE, Dataset, Source, Template};
use gpt2_dpo::gpu::{Adapters, Ask, Backends, GpuEngine, OpenOptions, Variant};
use gpt2_dpo::kernel::{Field, Layout};
use gpt2_dpo::model::Limits;
use gpt2_dpo::ops::OPS;
use gpt2_dpo::ops::case::Distance;
use gpt2_dpo::pretrained::{Model, Outline, Weights};
use gpt2_dpo::scorer::Whole;
use gpt2_dpo::target::{MatrixUnits, Precision};
use serde_json::Value;

/// Every runtime check, and WebGPU's default limits.
pub const CHECKED: OpenOptions = OpenOptions {
    checked: true,
    ask: Ask::Defaults,
    max_binding_bytes: None,
    variant: Variant::Best,
    precision: Precision::F32,
    tuning: None,
    room_to_grow: 0,
    measure: false,
    gentle: false,
    compiled: None,
    kernels: Vec::new(),
};

/// The options of users, with everything that the adapter offers.
pub fn everything() -> OpenOptions {
    OpenOptions {
        ask: Ask::Everything,
        ..OpenOptions::default()
    }
}

/// What a layout has to fit.
pub fn limits(max_binding_bytes: usize, pair_heads: usize) -> Limits {
    Limits {
        max_binding_bytes,
        pair_heads,
    }
}

/// A GPU opened so. A test that needs one fails without one: software Vulkan counts.
pub fn gpu() -> GpuEngine {
    gpu_with(CHECKED)
}

/// The first adapter, opened with these options.
pub fn gpu_with(options: OpenOptions) -> GpuEngine {
    let adapters = Adapters::enumerate(Backends::All);
    assert!(
        !adapters.is_empty(),
        "no GPU adapter. A software one counts: scripts/test installs Mesa's lavapipe \
         (Debian and Ubuntu: apt-get install mesa-vulkan-drivers)"
    );
    adapters.open(0, options).expect("the adapter opens")
}

/// True if the adapter of [`gpu_with`] is a driver that computes on the CPU.
pub fn is_software() -> bool {
    Adapters::enumerate(Backends::All).report(0).kind == "software"
}

/// Prints a line that no test runner hides.
pub fn not_run(what: &str) {
    let line = format!("NOT RUN: {what}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// A GPU with matrix units of these shapes, opened for mixed precision, and the bound on its products. `None` if
/// there is no such adapter; then it prints a line that no test runner hides.
pub fn mixed_gpu(
    test: &str,
    has: fn(MatrixUnits) -> bool,
    options: OpenOptions,
) -> Option<(GpuEngine, Distance)> {
    let adapters = Adapters::enumerate(Backends::All);
    let mut indices = 0..adapters.len();
    let Some(index) = indices.find(|&i| has(adapters.report(i).matrix_units)) else {
        not_run(&format!("{test}: no adapter with these matrix units"));
        return None;
    };
    let bound = match adapters.report(index).kind {
        "software" => Distance::BOUND,
        _ => Distance::MATRIX_UNITS,
    };
    let options = OpenOptions {
        precision: Precision::Mixed,
        ..options
    };
    let engine = adapters.open(index, options).expect("the adapter opens");
    Some((engine, bound))
}

/// The folder of the golden fixture's policy.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/policy")
}

/// The golden fixture's policy.
pub fn model() -> Model {
    Model::load(&golden()).unwrap()
}

/// The seven pairs of the golden fixture.
pub fn pairs(model: &Model) -> Dataset {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pairs.jsonl");
    read(&path, &model.outline)
}

/// The pairs of a file, read with the model card's recipe.
pub fn read(path: &Path, outline: &Outline) -> Dataset {
    let options = TrainConfig::default().data_options().unwrap();
    let template = Template::text(DEFAULT_TEMPLATE).unwrap();
    data::read(
        Source::open(path).unwrap(),
        &outline.codec(&template),
        &options,
    )
    .unwrap()
}

/// The names of all f32 variants.
pub fn variants() -> BTreeSet<&'static str> {
    let mut names: BTreeSet<&str> = OPS
        .iter()
        .flat_map(|op| op.variants(Precision::F32))
        .collect();
    names.remove("");
    names
}

/// The bits of all weights.
pub fn bits(weights: &Weights) -> Vec<u32> {
    let values = weights.tensors.iter().flatten();
    values.map(|v| v.to_bits()).collect()
}

/// The rows of the metrics in a run's folder without the speeds, which depend on the clock; each row is whole.
pub fn metrics(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "a half row: {text:?}"
    );
    let rows = text.lines().map(|line| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        let fields = row.as_object_mut().unwrap();
        fields.remove("pairs_per_second");
        fields.remove("tokens_per_second");
        row
    });
    rows.collect()
}

/// ‖ours − theirs‖ / ‖theirs‖; NaN if either has a NaN.
pub fn relative_l2(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let squares = |f: &dyn Fn(usize) -> f64| (0..ours.len()).map(|i| f(i).powi(2)).sum::<f64>();
    let error = squares(&|i| f64::from(ours[i]) - f64::from(theirs[i]));
    (error / squares(&|i| f64::from(theirs[i]))).sqrt()
}

/// max |ours − theirs|; NaN if either has a NaN.
pub fn max_abs(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let mut worst = 0.0_f64;
    for (&a, &b) in ours.iter().zip(theirs) {
        let difference = (f64::from(a) - f64::from(b)).abs();
        if difference.is_nan() {
            return f64::NAN;
        }
        worst = worst.max(difference);
    }
    worst
}

/// A step of so many pairs, for losses that count no tokens.
pub fn whole(pairs: usize) -> Whole {
    Whole {
        pairs,
        chosen_tokens: pairs,
    }
}

/// The layout of params that are a `count` alone.
pub fn layout_of_count() -> Layout {
    let count = Field {
        name: "count",
        offset: 0,
        scalar: "u32",
    };
    Layout {
        size: 4,
        fields: vec![count],
    }
}
