//! Every test that links the library, in one binary: `cargo test --test library golden::` runs one file's.
//! `tests/cli` holds the tests that run the program.

mod common;
#[path = "../common/hub_server.rs"]
mod hub_server;

mod adapters;
mod bench;
mod chat_template;
mod drivers;
mod evaluation;
mod golden;
mod gradients;
mod hub;
mod kernels;
mod lora;
mod loss;
mod losses;
mod mirrors;
mod mixed;
mod mutations;
mod ops;
mod plan;
mod prefix;
mod recording;
mod registry;
mod resume;
mod splits;
mod state;
mod stream;
mod timing;
mod training;
mod tuning;
