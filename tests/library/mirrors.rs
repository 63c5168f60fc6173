//! What Rust and a shader both declare: structs on the device, tiles of attention.

use std::mem::offset_of;

use gpt2_dpo::batch::{Span, TILE_ROWS, Tile};
use gpt2_dpo::kernel::Kernel;
use gpt2_dpo::ops::preference;
use gpt2_dpo::ops::step_control::{self, StepControl};
use gpt2_dpo::ops::{adamw, attention};

/// Names, offsets and types of the struct that `kernel` binds as `binding`.
fn members(kernel: &Kernel, binding: &str) -> Vec<(String, usize, String)> {
    let storage = &kernel.reflection().storage;
    let found = storage.iter().find(|b| b.name == binding);
    let members = found
        .unwrap_or_else(|| panic!("{kernel:?}: {binding}"))
        .members
        .iter();
    members
        .map(|m| (m.name.clone(), m.offset as usize, m.scalar.clone()))
        .collect()
}

/// Its layout in Rust is its layout in each shader that reads or writes it.
#[test]
fn step_control() {
    let fields = StepControl::fields();
    let ours: Vec<(String, usize, String)> = (fields.fields.iter())
        .map(|f| (f.name.to_owned(), f.offset, f.scalar.to_owned()))
        .collect();
    assert_eq!(ours.len(), step_control::WORDS);
    assert_eq!(fields.size, 4 * step_control::WORDS);
    for kernel in [
        &step_control::ADVANCE,
        &adamw::UPDATE,
        &preference::BACKWARD,
    ] {
        assert_eq!(members(kernel, "control"), ours, "{kernel:?}");
    }
}

#[test]
fn sums_of_a_pair() {
    for (kernel, binding) in [
        (&preference::FORWARD, "sums"),
        (&preference::BACKWARD, "saved"),
    ] {
        let members = members(kernel, binding);
        let names: Vec<&str> = members.iter().map(|(name, ..)| &name[..]).collect();
        let ours = [
            "chosen_gain",
            "rejected_gain",
            "chosen_logp",
            "rejected_logp",
            "chosen_len",
            "rejected_len",
        ];
        assert_eq!(names, ours);
        assert_eq!(names.len(), preference::SUMS);
        assert!(members.iter().all(|(_, _, scalar)| scalar == "f32"));
        assert_eq!(kernel.constant("METRICS") as usize, preference::METRICS);
    }
}

/// Spans and tiles lie in memory as the shaders read them.
#[test]
fn spans_and_tiles() {
    let span = [
        ("prefix_start", offset_of!(Span, prefix_start)),
        ("prefix_end", offset_of!(Span, prefix_end)),
        ("own_start", offset_of!(Span, own_start)),
        ("query_end", offset_of!(Span, query_end)),
    ];
    let tile = [
        ("first", offset_of!(Tile, first)),
        ("end", offset_of!(Tile, end)),
        ("links", offset_of!(Tile, links)),
        ("back_links", offset_of!(Tile, back_links)),
    ];
    let mut checked = 0;
    for kernel in attention::KERNELS
        .iter()
        .flat_map(|kernel| kernel.variants())
    {
        for (binding, ours) in [("spans", span), ("tiles", tile)] {
            if kernel
                .reflection()
                .storage
                .iter()
                .any(|b| b.name == binding)
            {
                let ours = ours.map(|(name, offset)| (name.to_owned(), offset, "u32".to_owned()));
                assert_eq!(members(kernel, binding), ours, "{kernel:?}: {binding}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 8, "{checked}");
}

/// A batch is cut into tiles without a look at the shader.
#[test]
fn tiles_of_attention() {
    let mut checked = 0;
    for kernel in attention::KERNELS
        .iter()
        .flat_map(|kernel| kernel.variants())
    {
        let constants = &kernel.reflection().constants;
        if let Some(&rows) = constants.get("TILE_ROWS") {
            assert_eq!(rows, TILE_ROWS, "{kernel:?}");
            checked += 1;
        }
    }
    assert!(checked >= 6, "{checked}");
}
