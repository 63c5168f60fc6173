//! The frozen reference's log-probs: computed once per response token, kept on disk.
//!
//! The reference is the model before training, so its log-probs never change. Their file is named by a hash of
//! weights, token ids, device, kernels and version of this crate. So a second run over the same pairs skips the
//! reference pass, and the cache never confuses two models.

use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::cache;
use crate::data::{Dataset, Example};
use crate::digest::{add_ids, hex};
use crate::storage::write_atomically;

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
        add_pairs(&mut hash, examples);
        Cache {
            path: dir.join(cache::file_name(hash, "reference", "safetensors")),
        }
    }

    /// The name of the file.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Loads the log-probs; `None` if there is no file, or if it is not whole and finite.
    pub fn load(&self, examples: &[Example]) -> Option<ReferenceLogProbs> {
        let values = read(&self.path)?;
        let count: usize = examples.iter().map(response_tokens).sum();
        (values.len() == count).then(|| ReferenceLogProbs::new(examples, values))
    }

    /// Loads the part that an unfinished pass left, in whole micro-batches of so many pairs; `None` without one.
    pub fn load_part(&self, examples: &[Example], micro_batch: usize) -> Option<Part> {
        let mut values = read(&self.part())?;
        let (mut pairs, mut count) = (0, 0);
        for micro in examples.chunks_exact(micro_batch) {
            let more = count + micro.iter().map(response_tokens).sum::<usize>();
            if more > values.len() {
                break;
            }
            (pairs, count) = (pairs + micro.len(), more);
        }
        values.truncate(count);
        Some(Part { pairs, values })
    }

    /// Stores the log-probs of the first pairs, for a pass that goes on later.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn store_part(&self, values: &[f32]) -> crate::Result<()> {
        write(&self.part(), values)
    }

    fn part(&self) -> PathBuf {
        self.path.with_extension("part.safetensors")
    }

    /// Stores the log-probs. A run without a cache is slower but still correct, so the caller decides whether to
    /// report the error or to stop.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn store(&self, logps: &ReferenceLogProbs) -> crate::Result<()> {
        write(&self.path, &logps.values)?;
        // It is of no use any more, and does no harm if it stays.
        let _ = std::fs::remove_file(self.part());
        Ok(())
    }
}

/// The log-probs of the first pairs of a data set.
pub struct Part {
    /// The number of pairs.
    pub pairs: usize,
    /// Their log-probs, pair by pair, chosen before rejected.
    pub values: Vec<f32>,
}

/// A hash of all pairs: their ids, in order, and their weights where these are not 1.
pub fn hash_of<'a>(data: impl IntoIterator<Item = &'a Dataset>) -> String {
    let mut hash = Sha256::new();
    for data in data {
        hash.update((data.examples.len() as u64).to_le_bytes());
        add_pairs(&mut hash, &data.examples);
        for (i, example) in data.examples.iter().enumerate() {
            if example.weight != 1.0 {
                hash.update((i as u64).to_le_bytes());
                hash.update(example.weight.to_bits().to_le_bytes());
            }
        }
    }
    hex(hash.finalize())
}

fn add_pairs(hash: &mut Sha256, examples: &[Example]) {
    for example in examples {
        for ids in [&example.prompt, &example.chosen, &example.rejected] {
            add_ids(hash, ids);
        }
    }
}

fn response_tokens(example: &Example) -> usize {
    example.chosen.len() + example.rejected.len()
}

/// Reads the log-probs in a file; `None` if there is no such file, or if it is not whole and finite.
fn read(path: &Path) -> Option<Vec<f32>> {
    let bytes = std::fs::read(path).ok()?;
    let file = SafeTensors::deserialize(&bytes).ok()?;
    let tensor = file.tensor(TENSOR).ok()?;
    if tensor.dtype() != Dtype::F32 || tensor.shape().len() != 1 {
        return None;
    }
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
    values.iter().all(|v| v.is_finite()).then_some(values)
}

fn write(path: &Path, values: &[f32]) -> crate::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| crate::Error::io("create", dir, e))?;
    }
    let bytes = bytemuck::cast_slice(values);
    write_atomically(path, |out| {
        let view = TensorView::new(Dtype::F32, vec![values.len()], bytes)
            .map_err(std::io::Error::other)?;
        let file = safetensors::serialize([(TENSOR, view)], None).map_err(std::io::Error::other)?;
        out.write_all(&file)
    })
}
