//! Fine-tunes GPT-2 with Direct Preference Optimization on whatever GPU there is.
pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod cpu;
pub mod data;
pub mod device;
pub mod dpo;
pub mod engine;
pub mod error;
pub mod eval;
pub mod generate;
pub mod gpu;
pub mod kernel;
pub mod learner;
pub mod model;
pub mod ops;
pub mod recording;
pub mod reference;
pub mod reflect;
pub mod schedule;
pub mod selftest;
pub mod tokenizer;
pub mod train;

pub use error::{Error, Result};
