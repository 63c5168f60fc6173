//! Fine-tunes GPT-2 with Direct Preference Optimization on whatever GPU there is, in WGSL compute
//! shaders driven through wgpu; a CPU engine computes the same numbers with the shaders' twins.
//!
//! # Reading order
//!
//! From a line of JSONL to a parameter update:
//!
//! 1. [`data`]: a file's records become texts, through a template or the model's [`chat_template`], and
//!    token ids, through the [`tokenizer`]. Files of the hub come through [`hub`].
//! 2. [`batch`]: a micro-batch becomes one stream of rows, the prompt shared by both responses.
//! 3. [`model`]: the dims, the table of parameters, and the walks [`model::forward`] and
//!    [`model::backward`], which append ops to a [`recording`].
//! 4. [`ops`]: each op's math in words, its WGSL kernels, and their CPU twins.
//! 5. [`dpo`] and [`objective`]: the losses, in prose and formula, and what each needs.
//! 6. [`scorer`]: a model on a device: micro-batch in, log-probs and metrics out.
//! 7. [`optimizer`]: the moments and AdamW over arenas of parameters.
//! 8. [`learner`]: the two together: micro-batch in, gradient added, step taken; its [`state`] by name.
//! 9. [`plan`]: the buffers of a run, created or only counted.
//! 10. [`mod@train`]: the run: epochs, schedule, evaluation, metrics.
//!
//! An [`engine`] runs recordings: [`gpu`] (the only place that names wgpu) or [`cpu`]. A [`kernel`] is
//! one entry point of a shader with its twin; [`reflect`] reads from the shader what it declares.
//! [`pretrained`] reads and writes Hugging Face directories, [`checkpoint`] the whole state of a run, [`config`] holds every default,
//! [`mod@generate`] continues texts, [`mod@eval`] scores held-out pairs, [`doctor`] says what the curves of a run mean, [`ranking`] finds labels that may be
//! swapped. [`twins`] holds a device to the CPU's results, and [`selftest`] tells from that and more whether
//! to trust it. [`ceilings`] measures a device at its best, [`profile`] tells where the time of recordings
//! goes, and [`mod@bench`] measures every kernel and a whole step.
//!
//! docs/architecture.md draws the modules and who imports whom.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod batch;
pub mod bench;
mod bounded;
pub mod buffer;
mod cache;
pub mod ceilings;
pub mod chat_template;
pub mod checkpoint;
pub mod choice;
#[cfg(test)]
mod circles;
pub mod config;
pub mod cpu;
pub mod data;
pub mod device;
mod digest;
pub mod distance;
pub mod doctor;
pub mod dpo;
pub mod engine;
pub mod error;
pub mod eval;
pub mod generate;
pub mod gpu;
pub mod guard;
pub mod hub;
pub mod kernel;
pub mod launches;
pub mod learner;
pub mod model;
pub mod objective;
pub mod ops;
pub mod optimizer;
pub mod plan;
pub mod pretrained;
pub mod profile;
pub mod ranking;
pub mod recording;
pub mod reference;
pub mod reflect;
pub mod run_folder;
pub mod schedule;
pub mod scorer;
pub mod selftest;
pub mod shadow;
mod stand_in;
pub mod state;
pub mod storage;
pub mod target;
pub mod tokenizer;
pub mod train;
pub mod twins;
pub mod wgsl;
pub mod words;

pub use error::{Error, Result, Setting};
