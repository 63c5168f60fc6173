//! `cargo +nightly fuzz run adapter_config fuzz/found/adapter_config fuzz/corpus/adapter_config -- -max_total_time=600`
#![no_main]

#[path = "../../tests/common/fuzz_targets.rs"]
mod fuzz_targets;

use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: fuzz_targets::pass_over_guarded_panics(),
    |bytes: &[u8]| {
        fuzz_targets::adapter_config(bytes);
    }
);
