//! The files of a model.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use gpt2_dpo::pretrained::{
    self, ADAPTER_WEIGHTS_FILE, Adapter, AdapterConfig, Config, GenerationConfig, Outline,
    TensorSource, WEIGHTS_FILE, Weights,
};

use super::{DIMS, Memory};

struct NoWeights;

impl TensorSource for NoWeights {
    fn write(&mut self, _: usize, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// The files that a model with this config is saved as.
fn saved(config: &Config) -> BTreeMap<String, Vec<u8>> {
    let mut folder = Memory {
        without_weights: true,
        ..Memory::default()
    };
    pretrained::save(&mut folder, config, &mut NoWeights).unwrap();
    folder.files
}

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";

/// `config.json`.
pub fn config_json(bytes: &[u8]) -> bool {
    let (origin, beside) = (Path::new(CONFIG), Path::new(GENERATION));
    let Ok(config) = Config::parse(bytes, origin) else {
        return false;
    };
    let written = saved(&config);
    let again = Config::parse(&written[CONFIG], origin).unwrap();
    assert_eq!(
        (again.dims, &again.end_of_text),
        (config.dims, &config.end_of_text)
    );
    assert_eq!(saved(&again), written);
    if let Some(generation) = written.get(GENERATION) {
        GenerationConfig::parse(generation, beside).unwrap();
    }
    let mut ended = config;
    ended.end_in(0);
    let again = Config::parse(&saved(&ended)[CONFIG], origin).unwrap();
    assert_eq!(again.end_of_text, ended.end_of_text);
    true
}

/// `generation_config.json`.
pub fn generation_config(bytes: &[u8]) -> bool {
    let origin = Path::new(GENERATION);
    let Ok(generation) = GenerationConfig::parse(bytes, origin) else {
        return false;
    };
    let mut config = Config::new(&DIMS, None);
    config.generation = Some(generation);
    for end in [None, Some(2)] {
        if let Some(end) = end {
            config.end_in(end);
        }
        let again = GenerationConfig::parse(&saved(&config)[GENERATION], origin).unwrap();
        assert_eq!(Some(again), config.generation);
    }
    true
}

/// `model.safetensors` of a model of [`DIMS`].
pub fn weights(bytes: &[u8]) -> bool {
    let origin = Path::new(WEIGHTS_FILE);
    let Ok(weights) = Weights::parse(bytes, origin, &DIMS) else {
        return false;
    };
    let mut folder = Memory::default();
    pretrained::save(&mut folder, &Config::new(&DIMS, None), &mut &weights).unwrap();
    let written = &folder.files[WEIGHTS_FILE];
    assert_eq!(Weights::parse(written, origin, &DIMS).unwrap(), weights);
    true
}

const ADAPTER: &str = "adapter_config.json";

/// The files that an adapter is saved as, beside a model of [`DIMS`].
fn saved_adapter(adapter: &Adapter) -> BTreeMap<String, Vec<u8>> {
    let mut folder = Memory::default();
    let values = Weights {
        tensors: adapter.tensors.clone(),
    };
    let outline = Outline::new(Config::new(&DIMS, None), None);
    outline
        .save_adapter(&mut folder, &adapter.config, &mut &values)
        .unwrap();
    folder.files
}

/// `adapter_config.json`.
pub fn adapter_config(bytes: &[u8]) -> bool {
    let origin = Path::new(ADAPTER);
    let Ok(config) = AdapterConfig::parse(bytes, origin) else {
        return false;
    };
    let adapter = Adapter::initial(config, &DIMS, 1);
    let written = saved_adapter(&adapter);
    let again = AdapterConfig::parse(&written[ADAPTER], origin).unwrap();
    assert_eq!(again.adapters(), adapter.config.adapters());
    assert_eq!(
        (&again.base, &again.revision),
        (&adapter.config.base, &adapter.config.revision)
    );
    true
}

/// `adapter_model.safetensors` of rank 1 beside a model of [`DIMS`].
pub fn adapter_weights(bytes: &[u8]) -> bool {
    let origin = Path::new(ADAPTER_WEIGHTS_FILE);
    let config = AdapterConfig::parse(br#"{"peft_type": "LORA", "r": 1}"#, Path::new(ADAPTER));
    let Ok(adapter) = Adapter::parse(bytes, origin, config.unwrap(), &DIMS) else {
        return false;
    };
    let written = &saved_adapter(&adapter)[ADAPTER_WEIGHTS_FILE];
    let again = Adapter::parse(written, origin, adapter.config.clone(), &DIMS).unwrap();
    assert_eq!(again, adapter);
    true
}
