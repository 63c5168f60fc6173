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
//! 5. [`dpo`]: the loss, in prose and formula.
//! 6. [`learner`]: a model on a device: micro-batch in, gradient added, AdamW step taken.
//! 7. [`plan`]: what a run keeps on its device, made there or only counted.
//! 8. [`mod@train`]: the run: epochs, schedule, evaluation, metrics.
//!
//! An [`engine`] runs recordings: [`gpu`] (the only place that names wgpu) or [`cpu`]. A [`kernel`] is
//! one entry point of a shader with its twin; what the shader declares is read from it by [`reflect`].
//! [`checkpoint`] reads and writes Hugging Face directories, [`config`] holds every default,
//! [`mod@generate`] continues texts, [`mod@eval`] scores held-out pairs, [`ranking`] finds labels that may be
//! swapped. [`twins`] holds a device to the
//! CPU's, and [`selftest`] tells from that and more whether to trust it. How fast all of it is: [`ceilings`] are what a device does at best, [`profile`] tells where the
//! time of recordings goes, and [`mod@bench`] measures every kernel and a whole step.

#![warn(missing_docs)]

pub mod batch;
pub mod bench;
pub mod buffer;
mod cache;
pub mod ceilings;
pub mod chat_template;
pub mod checkpoint;
#[cfg(test)]
mod circles;
pub mod config;
pub mod cpu;
pub mod data;
pub mod device;
pub mod distance;
pub mod dpo;
pub mod engine;
pub mod error;
pub mod eval;
pub mod generate;
pub mod gpu;
pub mod hub;
pub mod kernel;
pub mod learner;
pub mod model;
pub mod ops;
pub mod plan;
pub mod profile;
pub mod ranking;
pub mod recording;
pub mod reference;
pub mod reflect;
pub mod schedule;
pub mod selftest;
mod stand_in;
pub mod target;
pub mod tokenizer;
pub mod train;
pub mod twins;
pub mod words;

pub use error::{Error, Result, Setting};
