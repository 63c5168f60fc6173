//! `cargo +nightly fuzz run records_parquet fuzz/found/records_parquet fuzz/corpus/records_parquet -- -max_total_time=600`
#![no_main]

#[path = "../../tests/common/fuzz_targets.rs"]
mod fuzz_targets;

use libfuzzer_sys::fuzz_target;

// libFuzzer ends the program at each panic. The reader of parquet files catches those of the parquet crate; a panic
// that leaves the target still ends it.
fuzz_target!(
    init: drop(std::panic::take_hook()),
    |bytes: &[u8]| {
        fuzz_targets::records_parquet(bytes);
    }
);
