//! How an engine chooses among the variants of a kernel: by rating, by measuring, or from an earlier
//! measurement; and never a variant with wrong results.

use std::path::Path;

use crate::common;
use gpt2_dpo::engine::{Device, EngineExt, Timed, Tuned};
use gpt2_dpo::gpu::{GpuEngine, OpenOptions, Variant};
use gpt2_dpo::kernel::{Bindings, Kernel, Rate, Twin};
use gpt2_dpo::recording::Grid;
use gpt2_dpo::wgsl::Part;
use tempfile::TempDir;

/// A shader of one part.
macro_rules! text {
    ($text:expr) => {
        &[Part {
            file: "tuning.wgsl",
            text: $text,
        }]
    };
}

/// A shader that doubles: `y[id.x]` becomes the value.
macro_rules! doubling {
    ($value:literal) => {
        text!(concat!(
            "struct Params { count: u32 }
            @group(0) @binding(0) var<uniform> params: Params;
            @group(0) @binding(1) var<storage, read> x: array<f32>;
            @group(0) @binding(2) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(64)
            fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
                if id.x < params.count { y[id.x] = ",
            $value,
            "; }
            }"
        ))
    };
}

fn double(params: &[u8], mut b: Bindings) {
    let count: u32 = bytemuck::pod_read_unaligned(params);
    let (x, y) = (b.read::<f32>(0), b.write::<f32>(1));
    for (y, x) in y.iter_mut().zip(x).take(count as usize) {
        *y = 2.0 * x;
    }
}

const fn kernel(
    parts: &'static [Part],
    variant: &'static str,
    others: &'static [&'static Kernel],
    rate: Rate,
) -> Kernel {
    Kernel::foreign(
        "double",
        "forward",
        parts,
        Twin::new(double, common::layout_of_count),
    )
    .with_variant(variant)
    .with_others(others)
    .with_rate(rate)
}

static WRONG: Kernel = kernel(doubling!("2.1 * x[id.x]"), "wrong", &[], |_, _, _| Some(9));
/// No device allows workgroups of this size, so creating the pipeline fails.
static TOO_LARGE: Kernel = kernel(
    text!(
        "struct Params { count: u32 }
    @group(0) @binding(0) var<uniform> params: Params;
    @group(0) @binding(1) var<storage, read> x: array<f32>;
    @group(0) @binding(2) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(4096)
    fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x < params.count { y[id.x] = x[id.x] + x[id.x]; }
    }"
    ),
    "too large",
    &[],
    |_, _, _| Some(8),
);
static NOT_HERE: Kernel = kernel(doubling!("0.0"), "not here", &[], |_, _, _| None);
static SUM: Kernel = kernel(doubling!("x[id.x] + x[id.x]"), "sum", &[], |_, _, _| {
    Some(2)
});
static DOUBLE: Kernel = kernel(
    doubling!("2.0 * x[id.x]"),
    "product",
    &[&WRONG, &TOO_LARGE, &NOT_HERE, &SUM],
    |_, _, _| Some(1),
);

/// Doubles some numbers with the kernel; true if the results are right.
fn doubles(engine: &mut GpuEngine) -> bool {
    let engine: &mut dyn Device = engine;
    let values = [1.0_f32, -2.5, 3e7, 0.125];
    let x = engine.upload("x", &values).unwrap();
    let y = engine.upload("y", &[7.0_f32; 4]).unwrap();
    let mut rec = engine.recording();
    rec.push_foreign(&DOUBLE, &[x, y], 4_u32, Grid::Items(4));
    engine.run(&rec).unwrap();
    let doubled = engine.read_f32(y).unwrap();
    doubled.iter().zip(values).all(|(y, x)| *y == 2.0 * x)
}

fn chosen(engine: &GpuEngine) -> &'static str {
    let all: Vec<_> = engine.chosen().collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].1
}

fn tuned(path: &Path) -> GpuEngine {
    common::gpu_with(OpenOptions {
        tuning: Some(path.to_owned()),
        measure: true,
        ..OpenOptions::default()
    })
}

#[test]
fn without_measuring_the_rating_decides() {
    let mut engine = common::gpu_with(OpenOptions::default());
    assert!(!doubles(&mut engine), "the one that rates highest is wrong");
    assert_eq!(chosen(&engine), "wrong");
}

#[test]
fn a_name_decides_where_that_variant_can_run() {
    for (name, runs) in [
        ("sum", "sum"),
        ("product", "product"),
        ("not here", "product"),
        ("?", "product"),
    ] {
        let mut engine = common::gpu_with(OpenOptions {
            variant: Variant::Named(name),
            ..OpenOptions::default()
        });
        assert!(doubles(&mut engine));
        assert_eq!(chosen(&engine), runs);
    }
}

#[test]
fn measuring_leaves_out_what_is_wrong_and_says_so_once() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("new/folder/tuning.json");
    let mut engine = tuned(&path);
    assert!(doubles(&mut engine));
    let best = chosen(&engine);
    assert!(["sum", "product"].contains(&best), "{best}");
    let notes = engine.notes();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(
        notes[0].contains("double/forward [wrong] is wrong"),
        "{notes:?}"
    );
    assert!(notes[1].contains("double/forward [too large]"), "{notes:?}");
    assert!(notes[2].contains("measured 1 kernel shapes"), "{notes:?}");

    let table: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let entry = &table["entries"][0];
    assert_eq!(entry["variant"], best);
    assert!(
        entry["failed"]["wrong"]
            .as_str()
            .unwrap()
            .contains("relative")
    );
    assert!(!entry["failed"]["too large"].as_str().unwrap().is_empty());
    for failed in ["wrong", "too large"] {
        assert!(entry["milliseconds"][failed].is_null());
    }
    for right in ["sum", "product"] {
        assert!(entry["milliseconds"][right].as_f64().unwrap() > 0.0);
    }

    // The next run reads the file: it measures nothing and notes nothing.
    let identity = engine.identity();
    let mut engine = tuned(&path);
    assert!(doubles(&mut engine));
    assert_eq!(chosen(&engine), best);
    assert!(engine.notes().is_empty());
    assert_eq!(engine.identity(), identity);

    // The wrong variant is not taken either where nothing is measured, although it rates highest.
    let mut engine = common::gpu_with(OpenOptions {
        tuning: Some(path),
        ..OpenOptions::default()
    });
    assert!(doubles(&mut engine));
    assert_eq!(chosen(&engine), "sum");
    assert!(engine.notes().is_empty());
}

#[test]
fn the_table_decides_and_without_it_all_is_measured_anew() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tuning.json");
    assert!(doubles(&mut tuned(&path)));
    let text = std::fs::read_to_string(&path).unwrap();
    for other in ["sum", "product"] {
        let mut table: serde_json::Value = serde_json::from_str(&text).unwrap();
        table["entries"][0]["variant"] = other.into();
        std::fs::write(&path, table.to_string()).unwrap();
        let mut engine = tuned(&path);
        assert!(doubles(&mut engine));
        assert_eq!(chosen(&engine), other);
    }
    // A variant's name of an earlier version, then half a file.
    for spoilt in [
        &text.replace("\"variant\": \"", "\"variant\": \"un"),
        &text[..20],
    ] {
        std::fs::write(&path, spoilt).unwrap();
        let mut engine = tuned(&path);
        assert!(doubles(&mut engine));
        assert!(engine.notes().iter().any(|n| n.contains("measured 1")));
        let mut engine = tuned(&path);
        assert!(doubles(&mut engine));
        assert!(engine.notes().is_empty(), "measured again and again");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(doubles(&mut tuned(&path)));
    assert!(path.exists());
}

#[test]
fn a_table_that_cannot_be_written_costs_a_note() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut engine = tuned(&file.join("tuning.json"));
    assert!(doubles(&mut engine));
    let notes = engine.notes();
    assert!(notes[2].contains("not kept"), "{notes:?}");
}

#[test]
fn measuring_leaves_buffers_as_they_were() {
    let dir = TempDir::new().unwrap();
    let mut engine = tuned(&dir.path().join("tuning.json"));
    let engine: &mut dyn Device = &mut engine;
    let x = engine.upload("x", &[5.0_f32, 5.0]).unwrap();
    let y = engine.upload("y", &[1.0_f32, 7.0]).unwrap();
    let mut rec = engine.recording();
    rec.push_foreign(&DOUBLE, &[x, y], 1_u32, Grid::Items(1));
    let identity = engine.identity();
    assert_ne!(engine.identity_for(&rec).unwrap(), identity);
    assert_eq!(engine.read_f32(x).unwrap(), [5.0, 5.0]);
    assert_eq!(engine.read_f32(y).unwrap(), [10.0, 7.0], "run once");
}

/// The pace that a run has measured is where the next run on this device begins.
#[test]
fn the_pace_is_kept_beside_the_measurements() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tuning.json");
    assert!(doubles(&mut tuned(&path)));
    let unknown = tuned(&dir.path().join("other.json")).pace();
    let mut table: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    table["pace"] = 3e12.into();
    std::fs::write(&path, table.to_string()).unwrap();
    assert_eq!(tuned(&path).pace(), 1.5e12, "half of it");
    for nothing in ["null", "-3e12", "1e400", "\"fast\""] {
        let text = table.to_string().replace("3000000000000.0", nothing);
        assert!(text.contains(nothing), "{text}");
        std::fs::write(&path, text).unwrap();
        let pace = tuned(&path).pace();
        assert_eq!(pace, unknown, "{nothing}");
    }
}

/// Copies tell the rate of a device, and leave nothing on it.
#[test]
fn copies_have_a_rate() {
    let mut engine = common::gpu_with(OpenOptions::default());
    engine.watch();
    let rate = engine
        .copy_rate()
        .unwrap()
        .expect("there is memory for 32 MiB");
    assert!(rate.is_finite() && rate > 1e7, "{rate}");
    assert_eq!(engine.usage().unwrap().peak_bytes, Some(0));
}

/// The line of a file of compiled kernels that names them.
fn second_line(path: &Path) -> String {
    let text = std::fs::read(path).unwrap();
    let text = String::from_utf8_lossy(&text);
    text.lines().nth(1).unwrap().to_owned()
}

/// What was compiled is kept by name for the next run; a file that is damaged or another driver's changes nothing.
#[test]
fn what_was_compiled_is_kept_and_a_damaged_file_is_harmless() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("pipelines-1.bin");
    let open = |path: &Path| {
        common::gpu_with(OpenOptions {
            variant: Variant::Named("sum"),
            compiled: Some(path.to_owned()),
            kernels: vec![&DOUBLE, &SUM],
            ..OpenOptions::default()
        })
    };
    assert!(doubles(&mut open(&path)));
    let whole = std::fs::read(&path).unwrap();
    let header = second_line(&path);
    assert!(header.contains(r#"["double/forward sum"]"#), "{header}");

    // The next run compiles it ahead, and has nothing to add.
    let begun = std::fs::metadata(&path).unwrap().modified().unwrap();
    assert!(doubles(&mut open(&path)));
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), begun);

    let other = dir.path().join("pipelines-2.bin");
    std::fs::copy(&path, &other).unwrap();
    assert!(doubles(&mut open(&other)));
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        assert!(doubles(&mut open(&path)), "byte {at}");
        // The driver's own code may differ from run to run.
        assert_eq!(second_line(&path), header, "byte {at}: written anew");
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(doubles(&mut open(&path)));
    // Where nothing can be written, nothing is kept.
    assert!(doubles(&mut open(&path.join("below a file"))));
}

/// Runs the kernel on x; y holds 7 before. Returns y.
fn doubled(engine: &mut GpuEngine, x: f32) -> gpt2_dpo::Result<f32> {
    let engine: &mut dyn Device = engine;
    let x = engine.upload("x", &[x]).unwrap();
    let y = engine.upload("y", &[7.0_f32]).unwrap();
    let mut rec = engine.recording();
    rec.push_foreign(&DOUBLE, &[x, y], 1_u32, Grid::Items(1));
    engine.run(&rec)?;
    Ok(engine.read_f32(y)?[0])
}

/// A gradient that overflowed is no fault of the variants, and data that change nothing show no fault.
#[test]
fn data_that_tell_nothing_decide_nothing() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tuning.json");
    let mut engine = tuned(&path);
    assert_eq!(doubled(&mut engine, f32::INFINITY).unwrap(), f32::INFINITY);
    assert!(doubled(&mut engine, f32::NAN).unwrap().is_nan());
    assert_eq!(doubled(&mut engine, 3.5).unwrap(), 7.0, "as it was before");
    assert_eq!(engine.chosen().count(), 0);
    assert!(engine.notes().is_empty());
    assert!(!path.exists());
    assert_eq!(doubled(&mut engine, 4.0).unwrap(), 8.0);
    assert!(["sum", "product"].contains(&chosen(&engine)));
}

#[test]
fn where_all_were_wrong_nothing_runs() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tuning.json");
    doubled(&mut tuned(&path), 4.0).unwrap();
    let mut table: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for variant in ["sum", "product"] {
        table["entries"][0]["failed"][variant] = "made up".into();
    }
    std::fs::write(&path, table.to_string()).unwrap();
    for measure in [true, false] {
        let mut engine = common::gpu_with(OpenOptions {
            tuning: Some(path.clone()),
            measure,
            ..OpenOptions::default()
        });
        let error = doubled(&mut engine, 4.0).unwrap_err().to_string();
        assert!(error.contains("no variant of double/forward"), "{error}");
    }
}

/// Reads far behind the end of an array.
static BEYOND: Kernel = kernel(
    text!(
        "struct Params { count: u32 }
        @group(0) @binding(0) var<uniform> params: Params;
        @group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(64)
        fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
            var four = array<f32, 4>(x[0], x[1], x[2], x[3]);
            if id.x < params.count { y[id.x] = four[id.x + 4096u]; }
        }"
    ),
    "",
    &[],
    |_, _, _| Some(1),
);

/// A kernel that is not the library's own is checked on a device that was opened without checks: what it
/// reads behind an array's end is the array's last element.
#[test]
fn foreign_kernels_are_checked_always() {
    assert!(!BEYOND.is_trusted());
    let mut engine = common::gpu_with(OpenOptions {
        checked: false,
        ..OpenOptions::default()
    });
    let engine: &mut dyn Device = &mut engine;
    let x = engine.upload("x", &[1.0_f32, 2.0, 3.0, 4.0]).unwrap();
    let y = engine.upload("y", &[7.0_f32; 4]).unwrap();
    let mut rec = engine.recording();
    rec.push_foreign(&BEYOND, &[x, y], 4_u32, Grid::Items(4));
    engine.run(&rec).unwrap();
    assert_eq!(engine.read_f32(y).unwrap(), [4.0; 4]);
}
