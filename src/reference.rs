//! The frozen reference's log-probs: computed once per response token, kept on disk.
//!
//! The reference is the model before training, so its log-probs never change. Their file is named by a hash of
//! weights, token ids, device, kernels and version of this crate. So a second run over the same pairs skips the
//! reference pass, and the cache never confuses two models.

use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::Digest;

use crate::cache;
use crate::checkpoint::write_atomically;
use crate::data::Example;

/// The log-probs of all response tokens of a data set under the reference, example by example,
/// chosen before rejected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReferenceLogProbs {
    values: Vec<f32>,
    /// The index in `values` at which each example begins, and at the end the number of values.
    starts: Vec<usize>,
}

impl ReferenceLogProbs {
    /// The log-probs of these examples; `values` has them example by example, chosen before rejected.
    ///
    /// # Panics
    /// If the number of values is not the number of response tokens.
    pub fn new(examples: &[Example], values: Vec<f32>) -> Self {
        let mut starts = vec![0];
        for example in examples {
            let before = starts[starts.len() - 1];
            starts.push(before + example.chosen.len() + example.rejected.len());
        }
        assert_eq!(values.len(), starts[examples.len()]);
        ReferenceLogProbs { values, starts }
    }

    /// The log-probs of one example, by its index: chosen tokens, then rejected tokens.
    ///
    /// # Panics
    /// If there is no such example.
    pub fn of(&self, example: usize) -> &[f32] {
        &self.values[self.starts[example]..self.starts[example + 1]]
    }

    /// The log-probs of these examples one after another, in the order of a stream's head rows.
    pub fn gather(&self, examples: &[usize]) -> Vec<f32> {
        examples.iter().flat_map(|&e| self.of(e)).copied().collect()
    }
}

/// The file that keeps the log-probs of one data set under one model on one device.
pub struct Cache {
    path: PathBuf,
}

const TENSOR: &str = "logps";

impl Cache {
    /// The cache file in `dir` for a model, by the fingerprint of its weights, a device, by its
    /// [`identity_for`](crate::engine::Tuned::identity_for) the pass, and these examples. Touches no disk.
    pub fn new(dir: &Path, weights: &str, device: &str, examples: &[Example]) -> Cache {
        // The key of the cache has the kernels and the crate's version, which the log-probs depend on.
        let mut hash = cache::key();
        hash.update(weights);
        hash.update([0]);
        hash.update(device);
        for example in examples {
            for ids in [&example.prompt, &example.chosen, &example.rejected] {
                hash.update((ids.len() as u64).to_le_bytes());
                for id in ids {
                    hash.update(id.to_le_bytes());
                }
            }
        }
        Cache {
            path: dir.join(cache::file_name(hash, "reference", "safetensors")),
        }
    }

    /// Loads the log-probs; `None` if there is no file, or if it is not whole and finite.
    pub fn load(&self, examples: &[Example]) -> Option<ReferenceLogProbs> {
        let bytes = std::fs::read(&self.path).ok()?;
        let file = SafeTensors::deserialize(&bytes).ok()?;
        let tensor = file.tensor(TENSOR).ok()?;
        let count: usize = examples
            .iter()
            .map(|e| e.chosen.len() + e.rejected.len())
            .sum();
        if tensor.dtype() != Dtype::F32 || tensor.shape() != [count] {
            return None;
        }
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
        let finite = values.iter().all(|v| v.is_finite());
        finite.then(|| ReferenceLogProbs::new(examples, values))
    }

    /// Stores the log-probs. A run without a cache is slower but still correct, so the caller decides whether to
    /// report the error or to stop.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn store(&self, logps: &ReferenceLogProbs) -> crate::Result<()> {
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir).map_err(|e| crate::Error::io("create", dir, e))?;
        }
        let bytes = bytemuck::cast_slice(&logps.values);
        write_atomically(&self.path, |out| {
            let view = TensorView::new(Dtype::F32, vec![logps.values.len()], bytes)
                .map_err(std::io::Error::other)?;
            let file =
                safetensors::serialize([(TENSOR, view)], None).map_err(std::io::Error::other)?;
            out.write_all(&file)
        })
    }
}
