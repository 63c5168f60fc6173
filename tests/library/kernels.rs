//! The list of kernels that the package `tests/translations` and `scripts/check_gpus` read. That package does not
//! link the library: with its features of naga, cargo would compile wgpu and the library a second time.

use std::collections::BTreeSet;
use std::path::Path;

use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::Engine;
use gpt2_dpo::kernel::Kernel;
use gpt2_dpo::ops::{self, OPS};
use gpt2_dpo::recording::Step;
use gpt2_dpo::target::{MatrixUnits, Precision, Target};
use naga::proc::Layouter;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Module};
use serde_json::{Value, json};

fn describe(kernel: &Kernel, on_gpus: &BTreeSet<String>) -> Value {
    let shader = kernel.reflection();
    let storage = shader.storage.iter();
    json!({
        "op": kernel.op(),
        "variant": kernel.variant(),
        "entry": kernel.entry(),
        "entry_point": kernel.entry_point(),
        "source": kernel.source(),
        "mixed": kernel.precision() == Precision::Mixed,
        "workgroup": shader.workgroup_size,
        "workgroup_bytes": workgroup_bytes(kernel),
        "on_gpus": on_gpus.contains(&id(kernel)),
        "storage": storage.map(|b| json!({ "binding": b.binding, "written": b.written })).collect::<Vec<_>>(),
    })
}

fn id(kernel: &Kernel) -> String {
    format!("{}.{}", kernel.name(), kernel.variant())
}

/// Bytes of workgroup memory that an entry point uses, without an API's padding.
fn workgroup_bytes(kernel: &Kernel) -> u32 {
    let module: Module = naga::front::wgsl::parse_str(kernel.source()).unwrap();
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .unwrap();
    let mut entries = module.entry_points.iter();
    let entry = entries
        .position(|e| e.name == kernel.entry_point())
        .unwrap();
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).unwrap();
    let variables = module.global_variables.iter();
    let used = variables.filter(|(handle, variable)| {
        variable.space == AddressSpace::WorkGroup
            && !info.get_entry_point(entry)[*handle].is_empty()
    });
    used.map(|(_, variable)| layouter[variable.ty].size).sum()
}

/// The passes that an engine would run or time for a step on a GPU of this precision: as in
/// [`Kernel::with_rate`](gpt2_dpo::kernel::Kernel), rank 0 counts only where there is no other.
fn contenders(step: &Step, precision: Precision) -> Vec<&'static Kernel> {
    let gpu = Target {
        software: false,
        precision,
        matrix_units: MatrixUnits {
            eight: true,
            sixteen: true,
        },
    };
    let rates = step.kernel.variants().map(|v| (v, step.rate(v, &gpu)));
    let mut rated: Vec<_> = rates.filter_map(|(v, rate)| Some((v, rate?))).collect();
    if rated.iter().any(|(_, rate)| *rate > 0) {
        rated.retain(|(_, rate)| *rate > 0);
    }
    rated.into_iter().flat_map(|(v, _)| v.passes()).collect()
}

/// The kernels that a GPU may run, by what they say of the steps of all cases.
fn on_gpus() -> BTreeSet<String> {
    let mut engine = CpuEngine::new();
    let mut found = BTreeSet::new();
    for case in OPS.iter().flat_map(|op| (op.cases)()) {
        let prepared = case.prepare(&mut engine).unwrap();
        for step in &prepared.recording.steps {
            for precision in [Precision::F32, Precision::Mixed] {
                found.extend(contenders(step, precision).into_iter().map(id));
            }
        }
        for buffer in prepared.buffers {
            engine.release(buffer);
        }
    }
    found
}

/// Writes `target/translations/kernels.json`. Only variants that say so are for software devices alone.
#[test]
fn are_listed_for_translation() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("translations");
    std::fs::create_dir_all(&folder).unwrap();
    let on_gpus = on_gpus();
    let rest = ops::passes().filter(|kernel| !on_gpus.contains(&id(kernel)));
    let rest: BTreeSet<&str> = rest.map(Kernel::variant).collect();
    assert_eq!(rest, BTreeSet::from(["direct"]), "not for GPUs");
    let list: Vec<Value> = ops::passes().map(|k| describe(k, &on_gpus)).collect();
    let text = serde_json::to_vec_pretty(&list).unwrap();
    std::fs::write(folder.join("kernels.json"), text).unwrap();
}
