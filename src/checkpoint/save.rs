//! Saves a model as transformers' `save_pretrained` saves a `GPT2LMHeadModel`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::Value;

use super::{CONFIG_FILE, Config, GENERATION_FILE, PREFIX, WEIGHTS_FILE, Weights};
use crate::checkpoint::output::write_atomically;
use crate::error::Result;
use crate::model::{Dims, params};

/// Writes `config.json`, `generation_config.json` and `model.safetensors` (F32) into the existing folder `dir`,
/// and replaces files with these names. `generation_config.json` is the file that was read; without one, it is
/// written only if an end-of-text token is known.
///
/// Each file is written atomically, the weights last.
///
/// # Errors
/// `Error::Io` if a file cannot be written.
///
/// # Panics
/// If `weights` do not have the shapes of `config.dims`.
pub fn save(dir: &Path, config: &Config, weights: &Weights) -> Result<()> {
    write_json(&dir.join(CONFIG_FILE), &config.to_json())?;
    if let Some(generation) = config.generation_json() {
        write_json(&dir.join(GENERATION_FILE), &generation)?;
    }
    write_atomically(&dir.join(WEIGHTS_FILE), |out| {
        write_weights(out, &config.dims, weights)
    })
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_atomically(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// Streams a safetensors file (header length, JSON header, data). The weights are never copied in memory.
fn write_weights(out: &mut dyn Write, dims: &Dims, weights: &Weights) -> io::Result<()> {
    let table = params::table(dims);
    assert_eq!(table.len(), weights.tensors.len(), "parameters");

    let mut end = 0;
    let mut infos = Vec::with_capacity(table.len());
    for (param, values) in table.iter().zip(&weights.tensors) {
        assert_eq!(param.len(), values.len(), "elements of {}", param.name);
        let start = end;
        end += size_of_val(values.as_slice());
        let info = TensorInfo {
            dtype: Dtype::F32,
            shape: param.shape(),
            data_offsets: (start, end),
        };
        infos.push((format!("{PREFIX}{}", param.name), info));
    }
    // transformers refuses a file without this entry.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), infos).map_err(io::Error::other)?;

    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' '); // aligns the data
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for values in &weights.tensors {
        out.write_all(bytemuck::cast_slice(values))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::SafeTensors;

    use super::*;
    use crate::checkpoint::{initial, tiny_dims};
    use crate::error::Error;

    #[test]
    fn a_saved_model_reads_back_equal() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(&tiny_dims(), Some(10));
        for seed in [1, 2] {
            // The second save replaces the files of the first.
            let weights = initial(&config.dims, seed);
            save(dir.path(), &config, &weights).unwrap();
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
        write_weights(&mut bytes, &dims, &initial(&dims, 1)).unwrap();

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
        save(from.path(), &made, &weights).unwrap();
        let published = serde_json::json!({
            "do_sample": true, "temperature": 0.7, "eos_token_id": [10, 3], "pad_token_id": 10
        });
        fs::write(from.path().join(GENERATION_FILE), published.to_string()).unwrap();
        save(to.path(), &Config::load(from.path()).unwrap(), &weights).unwrap();
        let saved = fs::read(to.path().join(GENERATION_FILE)).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&saved).unwrap(), published);
    }

    #[test]
    fn without_an_end_of_text_there_is_no_generation_config() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(&tiny_dims(), None);
        save(dir.path(), &config, &initial(&config.dims, 1)).unwrap();
        assert!(!dir.path().join(GENERATION_FILE).exists());
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(&tiny_dims(), None);
        let weights = initial(&config.dims, 1);
        let error = save(&dir.path().join("absent"), &config, &weights).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
    }
}
