//! `cargo +nightly fuzz run config_json fuzz/found/config_json fuzz/corpus/config_json -- -max_total_time=600`
#![no_main]

#[path = "../../tests/common/fuzz_targets.rs"]
mod fuzz_targets;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::config_json(bytes);
});
