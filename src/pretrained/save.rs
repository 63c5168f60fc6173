//! Saves a model as transformers' `save_pretrained` saves a `GPT2LMHeadModel`.

use std::collections::HashMap;
use std::io::{self, Write};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::Value;

use super::{CONFIG_FILE, Config, GENERATION_FILE, PREFIX, WEIGHTS_FILE};
use crate::error::Result;
use crate::model::{Dims, params};
use crate::storage::Folder;

/// The values of tensors, given one after another, so that they need not all be in memory.
pub trait TensorSource {
    /// Writes the values of a tensor as little-endian f32.
    ///
    /// # Errors
    /// Every error of `out` and of the source.
    fn write(&mut self, tensor: usize, out: &mut dyn Write) -> io::Result<()>;
}

/// Writes `config.json`, `generation_config.json` and `model.safetensors` (F32) into a folder, the weights last, and
/// replaces files with these names. `weights` gives the parameters in the order of [`params::table`].
/// `generation_config.json` is the file that was read; without one, it is written only if an end-of-text token is
/// known.
///
/// # Errors
/// `Error::Io` if a file cannot be written.
pub fn save(
    folder: &mut dyn Folder,
    config: &Config,
    weights: &mut dyn TensorSource,
) -> Result<()> {
    write_json(folder, CONFIG_FILE, &config.to_json())?;
    if let Some(generation) = config.generation_json() {
        write_json(folder, GENERATION_FILE, &generation)?;
    }
    folder.write(WEIGHTS_FILE, &mut |out| {
        write_weights(out, &config.dims, weights)
    })
}

pub(super) fn write_json(folder: &mut dyn Folder, name: &str, value: &Value) -> Result<()> {
    folder.write(name, &mut |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

fn write_weights(
    out: &mut dyn Write,
    dims: &Dims,
    weights: &mut dyn TensorSource,
) -> io::Result<()> {
    let table = params::table(dims);
    let tensors: Vec<NamedShape> = table
        .iter()
        .map(|param| NamedShape {
            name: format!("{PREFIX}{}", param.name),
            shape: param.shape(),
        })
        .collect();
    write_tensors(out, &tensors, weights)
}

/// A tensor of a safetensors file.
pub(crate) struct NamedShape {
    pub name: String,
    pub shape: Vec<usize>,
}

/// Streams a safetensors file of f32 tensors (header length, JSON header, data). The values are never copied.
///
/// # Errors
/// Every error of `out` and of the source; an error if the source gives more or fewer bytes than a shape says.
pub(crate) fn write_tensors(
    out: &mut dyn Write,
    tensors: &[NamedShape],
    values: &mut dyn TensorSource,
) -> io::Result<()> {
    let mut end = 0;
    let mut infos = Vec::with_capacity(tensors.len());
    for NamedShape { name, shape } in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * size_of::<f32>();
        let info = TensorInfo {
            dtype: Dtype::F32,
            shape: shape.clone(),
            data_offsets: (start, end),
        };
        infos.push((name.clone(), info));
    }
    let offsets: Vec<usize> = infos.iter().map(|(_, info)| info.data_offsets.1).collect();
    // transformers refuses a file without this entry.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), infos).map_err(io::Error::other)?;

    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' '); // aligns the data
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    let mut data = Counted { out, bytes: 0 };
    for (i, (tensor, end)) in tensors.iter().zip(offsets).enumerate() {
        values.write(i, &mut data)?;
        if data.bytes != end {
            let what = format!("{} has not the size of its shape", tensor.name);
            return Err(io::Error::other(what));
        }
    }
    Ok(())
}

/// Counts the bytes that pass through.
struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::SafeTensors;

    use super::*;
    use crate::error::Error;
    use crate::pretrained::{Weights, initial, tiny_dims};
    use crate::storage::Replacing;

    #[test]
    fn a_saved_model_reads_back_equal() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(&tiny_dims(), Some(10));
        for seed in [1, 2] {
            // The second save replaces the files of the first.
            let weights = initial(&config.dims, seed);
            save(&mut Replacing::on_disk(dir.path()), &config, &mut &weights).unwrap();
            let read = Config::load(dir.path()).unwrap();
            assert_eq!(read.dims, config.dims);
            assert_eq!(read.to_json(), config.to_json());
            assert_eq!(read.generation_json(), config.generation_json());
            assert_eq!(Weights::load(dir.path(), &config.dims).unwrap(), weights);
        }
        let generation = fs::read(dir.path().join(GENERATION_FILE)).unwrap();
        let generation: Value = serde_json::from_slice(&generation).unwrap();
        assert_eq!(generation["eos_token_id"], 10);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            3,
            "no leftover temporary file"
        );
    }

    #[test]
    fn the_file_is_as_transformers_writes_it() {
        let dims = tiny_dims();
        let mut bytes = Vec::new();
        write_weights(&mut bytes, &dims, &mut &initial(&dims, 1)).unwrap();

        let (header_len, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header_len % 8, 0);
        assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
        let tensors = metadata.tensors();
        assert_eq!(tensors.len(), params::table(&dims).len());
        assert_eq!(tensors["transformer.wte.weight"].shape, [11, 6]);
        assert_eq!(tensors["transformer.h.1.attn.c_attn.bias"].shape, [18]);
        assert!(!tensors.contains_key("lm_head.weight"));
    }

    #[test]
    fn a_generation_config_is_kept_whole() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = Config::new(&tiny_dims(), Some(10));
        let weights = initial(&made.dims, 1);
        save(&mut Replacing::on_disk(from.path()), &made, &mut &weights).unwrap();
        let published = serde_json::json!({
            "do_sample": true, "temperature": 0.7, "eos_token_id": [10, 3], "pad_token_id": 10
        });
        fs::write(from.path().join(GENERATION_FILE), published.to_string()).unwrap();
        let config = Config::load(from.path()).unwrap();
        save(&mut Replacing::on_disk(to.path()), &config, &mut &weights).unwrap();
        let saved = fs::read(to.path().join(GENERATION_FILE)).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&saved).unwrap(), published);
    }

    #[test]
    fn without_an_end_of_text_there_is_no_generation_config() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(&tiny_dims(), None);
        save(
            &mut Replacing::on_disk(dir.path()),
            &config,
            &mut &initial(&config.dims, 1),
        )
        .unwrap();
        assert!(!dir.path().join(GENERATION_FILE).exists());
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(&tiny_dims(), None);
        let weights = initial(&config.dims, 1);
        let error = save(
            &mut Replacing::on_disk(&dir.path().join("absent")),
            &config,
            &mut &weights,
        )
        .unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
    }
}
