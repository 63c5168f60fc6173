//! Which parameters `train` trains: all of a model, a part, or adapters.

use std::path::Path;

use gpt2_dpo::Result;
use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::model::Dims;
use gpt2_dpo::pretrained::Adapter;
use gpt2_dpo::words::counted;

use super::{say, starter, tell};

/// What is trained, in words and numbers.
pub struct Trained {
    /// `None` if the whole model is trained.
    what: Option<String>,
    trained: usize,
    all: usize,
}

impl Trained {
    /// What a run with these options trains of a model of these dims.
    ///
    /// # Errors
    /// `Error::Option` for layers that the model does not have.
    pub fn of(config: &TrainConfig, dims: &Dims) -> Result<Trained> {
        let params = config.parameters(dims)?;
        let count = |is_one: fn(bool) -> bool| -> usize {
            let taken = params.iter().filter(|param| is_one(param.trainable));
            taken.map(|param| param.len()).sum()
        };
        let what = match (config.adapter_config(), config.train_layers) {
            (Some(adapter), _) => {
                let root = if adapter.use_rslora { "√" } else { "" };
                let (rank, alpha) = (adapter.rank, adapter.alpha);
                let beside = &config.lora_targets;
                let start = match &config.adapter {
                    Some(dir) => format!(", from {}", dir.display()),
                    None => String::new(),
                };
                Some(format!(
                    "adapters of rank {rank}, factor {alpha}/{root}{rank}, beside {beside}{start}"
                ))
            }
            (None, 0) if config.freeze_embeddings => Some("all but the embeddings".to_owned()),
            (None, 0) => None,
            (None, layers) => Some(format!("the last {}", counted(layers, "layer"))),
        };
        Ok(Trained {
            what,
            trained: count(|trainable| trainable),
            all: count(|_| true),
        })
    }

    /// Prints it, unless the whole model is trained.
    pub fn say(&self) {
        if let Some(what) = &self.what {
            let share = 100.0 * self.trained as f64 / self.all as f64;
            say!(
                "trains  {what}: {} of {} parameters ({share:.2} %)",
                self.trained,
                self.all
            );
        }
    }
}

/// The adapter to go on with; `None` if the options name none. Prints notes on what of it is not taken.
pub fn read_adapter(config: &TrainConfig, dims: &Dims) -> Result<Option<Adapter>> {
    let Some(dir) = &config.adapter else {
        return Ok(None);
    };
    let adapter = Adapter::load(dir, dims)?;
    let dir = dir.display();
    if adapter.config.dropout > 0.0 {
        tell!(
            "note: {dir} says lora_dropout {}; training here has none",
            adapter.config.dropout
        );
    }
    let named = adapter.config.base.as_deref();
    let taken = config.model.as_deref();
    if let Some(base) = named.filter(|base| taken != Some(Path::new(base))) {
        let taken = taken.map_or(starter::NAME.into(), Path::to_string_lossy);
        tell!("note: {dir} says that its base is {base}; it is taken beside {taken}");
    }
    Ok(Some(adapter))
}
