//! The list of kernels that the package `tests/translations` reads. That package does not link the library:
//! with its features of naga, cargo would compile wgpu and the library a second time.

use std::path::Path;

use gpt2_dpo::kernel::Kernel;
use gpt2_dpo::ops;
use gpt2_dpo::target::Precision;
use serde_json::{Value, json};

fn describe(kernel: &Kernel) -> Value {
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
        "storage": storage.map(|b| json!({ "binding": b.binding, "written": b.written })).collect::<Vec<_>>(),
    })
}

/// Writes `target/translations/kernels.json`.
#[test]
fn are_listed_for_translation() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("translations");
    std::fs::create_dir_all(&folder).unwrap();
    let list: Vec<Value> = ops::passes().map(describe).collect();
    let text = serde_json::to_vec_pretty(&list).unwrap();
    std::fs::write(folder.join("kernels.json"), text).unwrap();
}
