//! Stands in for `parquet` in a build without that feature: a parquet file is told and refused.

use std::convert::Infallible;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::Raw;
use crate::error::{Error, Result};

/// There is none: [`Parquet::new`] fails.
#[derive(Debug)]
pub(super) enum Parquet {}

/// Rows of a [`Parquet`].
#[derive(Debug)]
pub(super) enum Rows {}

impl Parquet {
    pub fn new(path: Arc<Path>, _: File) -> Result<Self> {
        Err(Error::file(
            &path,
            "is parquet, which this build cannot read",
            "build gpt2-dpo with cargo's feature `parquet`, which is on by default, or write the records as \
             JSON lines",
        ))
    }

    pub fn next_chunk(&mut self) -> Result<Option<Vec<Raw>>> {
        match *self {}
    }
}

impl Rows {
    pub fn value(&self, _: usize) -> Result<Value, Infallible> {
        match *self {}
    }
}
