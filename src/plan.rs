//! The buffers of a training run on its device. The same code makes them or only counts their bytes.

use std::fmt;
use std::iter::successors;

use crate::batch::Extent;
use crate::buffer::Buffer;
use crate::checkpoint::Snapshot;
use crate::config::TrainConfig;
use crate::data::Dataset;
use crate::engine::{Engine, EngineExt, Memory, Release, Ticket};
use crate::error::{Error, Result};
use crate::generate::{Decoder, SAMPLED_TOKENS};
use crate::learner::{Learner, Recipe, Room};
use crate::model::{Allocation, BufferKind, Dims, Layout, Limits, Tensors};
use crate::recording::Recording;

/// The training and held-out pairs of a run.
#[derive(Clone, Copy)]
pub struct Datasets<'a> {
    /// The pairs to learn from.
    pub train: &'a Dataset,
    /// Held-out pairs, if any.
    pub eval: Option<&'a Dataset>,
    /// The prompts that evaluations answer, as ids.
    pub samples: &'a [Vec<u32>],
}

/// The part of a run that lies on its device.
pub struct Resident {
    /// The model in training; its weights are 0.
    pub learner: Learner,
    /// The buffers of the frozen weights, all 0; only with [`TrainConfig::copies_reference`].
    pub frozen: Option<Tensors>,
    /// The buffers in which evaluations answer prompts; `None` without prompts.
    pub decoder: Option<Decoder>,
    /// Micro-batches of an optimizer step.
    pub micro_batches: usize,
    /// A message if `batch_size` pairs did not fit, so that a micro-batch has fewer.
    pub note: Option<String>,
}

impl Resident {
    /// Makes the buffers. On a device with [`Engine::room_to_grow`] a micro-batch has all pairs of a step, or as many
    /// halves of them as fit that room. If one of `batch_size` pairs does not fit the device, it is halved until it
    /// fits. An optimizer step keeps its pairs, and its results change only by rounding.
    ///
    /// # Errors
    /// `Error::Device` if the tensors or the activations of one pair do not fit; `Error::Option` for layers to train that
    /// the model does not have.
    pub fn new(
        engine: &mut dyn Engine,
        config: &TrainConfig,
        dims: &Dims,
        data: Datasets,
    ) -> Result<Resident> {
        let Datasets {
            train,
            eval,
            samples,
        } = data;
        let objective = config.objective();
        let examples: Vec<_> = [Some(train), eval]
            .into_iter()
            .flatten()
            .map(|data| &data.examples[..])
            .collect();
        let extent_of = |pairs: usize| {
            let each = examples.iter();
            each.map(|examples| Extent::of(examples, pairs, objective.sides()))
                .fold(Extent::default(), Extent::union)
        };
        let most = examples.iter().map(|e| e.len()).max().unwrap_or(0);
        let asked = config.batch_size.min(most).max(1);
        let step = config.pairs_per_step().min(train.examples.len());
        let halves_of = |pairs| {
            successors(Some(pairs), |&pairs: &usize| {
                (pairs > 1).then(|| pairs.div_ceil(2))
            })
        };
        let larger = halves_of(step).filter(|&pairs| pairs > asked);
        let larger = larger.filter(|&pairs| fits(engine, config, dims, data, pairs));
        let extents: Vec<Extent> = larger.chain(halves_of(asked)).map(extent_of).collect();
        let room = Room {
            extent: extents[0],
            smaller: &extents[1..],
            pairs: step.max(eval.map_or(0, |eval| eval.examples.len())),
            recompute: config.checkpoint_activations,
        };
        let limits = Limits {
            max_binding_bytes: engine.max_binding_bytes(),
            pair_heads: room.extent.pair_heads,
        };
        let layout = Layout::of(dims, &config.parameters(dims)?, limits)?;
        // The reference has no adapters.
        let reference = match config.copies_reference() {
            true => Some(Layout::new(dims, limits)?),
            false => None,
        };
        let zeros = |engine: &mut dyn Engine| {
            let frozen = reference
                .as_ref()
                .map(|layout| Tensors::zeros(engine, layout, "reference weights"));
            frozen.transpose()
        };
        let recipe = Recipe {
            objective,
            optimizer: config.optimizer(),
        };
        let learner = |engine: &mut dyn Engine| Learner::empty(engine, &layout, recipe, &room);
        let longest = samples.iter().map(Vec::len).max();
        let decoder = |engine: &mut dyn Engine| {
            let made = longest.map(|ids| Decoder::new(engine, &layout, ids + SAMPLED_TOKENS));
            made.transpose()
        };
        // The learner comes last: it takes a smaller micro-batch if the rest leaves it too little.
        let made = zeros(engine)
            .and_then(|frozen| frozen.beside(engine, decoder))
            .and_then(|both| both.beside(engine, learner));
        let ((frozen, decoder), learner) = made.map_err(explain)?;

        let taken = learner.policy.ws.extent.pairs;
        let micro_batches = step.div_ceil(taken);
        let note = (taken < asked).then(|| {
            format!(
                "a micro-batch of {asked} pairs does not fit the device: an optimizer step takes \
                 {micro_batches} of {taken} pairs, with the same result but for rounding"
            )
        });
        Ok(Resident {
            learner,
            frozen,
            decoder,
            micro_batches,
            note,
        })
    }

    /// The most pairs of a micro-batch.
    pub fn micro_batch(&self) -> usize {
        self.learner.policy.ws.extent.pairs
    }

    /// Every buffer.
    pub fn buffers(&self) -> impl Iterator<Item = Allocation> {
        let frozen = self.frozen.iter().flat_map(|frozen| &frozen.arenas);
        let frozen = BufferKind::Reference.of(frozen.copied());
        let decoder = self.decoder.iter().flat_map(Decoder::buffers);
        self.learner.buffers().chain(frozen).chain(decoder.copied())
    }
}

/// True if a micro-batch of this many pairs fits the room to grow.
fn fits(
    engine: &dyn Engine,
    config: &TrainConfig,
    dims: &Dims,
    data: Datasets,
    pairs: usize,
) -> bool {
    let Some(mut planner) = Planner::of_growth(engine) else {
        return false;
    };
    let grown = TrainConfig {
        batch_size: pairs,
        gradient_accumulation_steps: 1,
        ..config.clone()
    };
    let resident = Resident::new(&mut planner, &grown, dims, data);
    resident.is_ok_and(|resident| resident.micro_batch() == pairs)
}

/// Turns a lack of memory with a micro-batch of one pair into an error that tells the user how to need less.
fn explain(error: Error) -> Error {
    match error {
        Error::OutOfMemory { what, bytes, .. } => Error::OutOfMemory {
            what,
            bytes,
            help: "`plan::Plan` shows what takes how much; `.checkpoint_activations`, lower token budgets or a \
                   smaller model take less, and `.device` cpu has the machine's memory"
                .into(),
        },
        other => other,
    }
}

/// An engine that makes no buffers: it counts their bytes, within the limits of a device.
pub struct Planner {
    max_binding_bytes: usize,
    room_bytes: usize,
    room_to_grow: usize,
    max_step_flops: u64,
    bytes: usize,
    labels: Vec<String>,
}

impl Planner {
    /// Makes a planner that refuses a buffer larger than `max_binding_bytes`, and a buffer with which all buffers
    /// together exceed `room_bytes`.
    pub fn new(max_binding_bytes: usize, room_bytes: usize) -> Planner {
        Planner {
            max_binding_bytes,
            room_bytes,
            room_to_grow: 0,
            max_step_flops: u64::MAX,
            bytes: 0,
            labels: Vec::new(),
        }
    }

    /// Makes a planner with the room that a micro-batch may grow into on `engine`; `None` if there is none.
    pub fn of_growth(engine: &dyn Engine) -> Option<Planner> {
        let room = Some(engine.room_to_grow()).filter(|&bytes| bytes > 0)?;
        Some(Planner::new(engine.max_binding_bytes(), room).with_room_to_grow(room))
    }

    /// Lets a micro-batch grow as on a device with this [`Engine::room_to_grow`].
    pub fn with_room_to_grow(self, bytes: usize) -> Planner {
        Planner {
            room_to_grow: bytes,
            ..self
        }
    }

    /// Limits the steps of its recordings to this many operations, as a device of some speed does.
    pub fn with_max_step_flops(self, flops: u64) -> Planner {
        Planner {
            max_step_flops: flops,
            ..self
        }
    }

    /// The bytes of all buffers that were made and not released.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Engine for Planner {
    fn name(&self) -> String {
        "a plan".into()
    }

    fn is_asynchronous(&self) -> bool {
        false
    }

    fn room_to_grow(&self) -> usize {
        self.room_to_grow
    }

    fn max_binding_bytes(&self) -> usize {
        self.max_binding_bytes
    }

    fn memory(&self) -> Option<Memory> {
        None
    }

    fn create(&mut self, label: &str, words: usize) -> Result<Buffer> {
        if 4 * words > self.max_binding_bytes {
            return Err(Error::too_large(label, words, self.max_binding_bytes));
        }
        let Some(left) = self.room_bytes.checked_sub(4 * words) else {
            return Err(Error::out_of_memory(
                format!("no room for {label} ({} MiB)", (4 * words) >> 20),
                words,
            ));
        };
        self.room_bytes = left;
        self.bytes += 4 * words;
        self.labels.push(label.to_owned());
        Ok(Buffer::whole(self.labels.len() as u32 - 1, words))
    }

    fn release(&mut self, buffer: Buffer) {
        self.room_bytes += 4 * buffer.words;
        self.bytes -= 4 * buffer.words;
    }

    fn write(&mut self, _: Buffer, _: &[u32]) -> Result<()> {
        Ok(())
    }

    fn recording(&self) -> Recording {
        Recording::for_device(self.max_step_flops)
    }

    fn run(&mut self, recording: &Recording) -> Result<Vec<Ticket>> {
        self.ask_fetches(recording)
    }

    fn fetch(&mut self, _: Buffer) -> Result<Ticket> {
        Err(holds_nothing())
    }

    fn collect(&mut self, _: Ticket) -> Result<Vec<u32>> {
        Err(holds_nothing())
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }
}

fn holds_nothing() -> Error {
    Error::device("a plan holds no numbers", "use a device")
}

impl fmt::Display for BufferKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            BufferKind::Weights => "weights",
            BufferKind::Gradients => "gradients",
            BufferKind::Optimizer => "optimizer",
            BufferKind::Activations => "activations",
            BufferKind::Head => "head",
            BufferKind::Reference => "reference",
            BufferKind::Inputs => "inputs",
        })
    }
}

/// The memory of the buffers of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The kind of the buffers.
    pub kind: BufferKind,
    /// The number of buffers.
    pub buffers: usize,
    /// The bytes of all buffers together.
    pub bytes: usize,
    /// The largest buffer; `None` if there is no buffer of this kind.
    pub largest: Option<Largest>,
}

/// A buffer of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Largest {
    /// Its label.
    pub label: String,
    /// Its size.
    pub bytes: usize,
}

/// The memory that a run would need on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The share of each kind, in the order of [`BufferKind::ALL`].
    pub shares: Vec<Share>,
    /// The extent of the largest micro-batch.
    pub extent: Extent,
    /// Micro-batches of an optimizer step.
    pub micro_batches: usize,
    /// A message if a micro-batch has fewer pairs than `batch_size`.
    pub note: Option<String>,
    /// The most head rows whose logits are in memory at a time.
    pub head_rows: usize,
    /// The number of row shards of the vocabulary matrix.
    pub vocabulary_shards: usize,
    /// The number of other matrices that are cut into shards.
    pub split_matrices: usize,
    /// The largest buffer that the device can bind, in bytes.
    pub max_binding_bytes: usize,
    /// The device's memory; `None` if the device does not tell.
    pub memory: Option<Memory>,
    /// The bytes of the copies in the machine's memory while a checkpoint is written, and of its tensors on disk.
    pub checkpoint_bytes: u64,
    /// The bytes of this run with `checkpoint_activations`; `None` if the run already has it.
    pub recompute_bytes: Option<usize>,
}

impl Plan {
    /// Counts the buffers that [`Resident::new`] would make on `engine`; the engine only tells its limits. The
    /// engine needs some more memory for uniforms, copies and partial sums: a GPU at most
    /// [`GpuEngine::OWN_BYTES`](crate::gpu::GpuEngine::OWN_BYTES).
    ///
    /// # Errors
    /// `Error::Device` as in [`Resident::new`], but not for a lack of memory in all: compare [`Plan::bytes`] with
    /// [`Plan::memory`].
    pub fn new(
        engine: &dyn Engine,
        config: &TrainConfig,
        dims: &Dims,
        data: Datasets,
    ) -> Result<Plan> {
        let (max_binding_bytes, memory) = (engine.max_binding_bytes(), engine.memory());
        let counted = |config: &TrainConfig, room_bytes: usize| {
            let mut planner = Planner::new(max_binding_bytes, room_bytes)
                .with_room_to_grow(engine.room_to_grow());
            let resident = Resident::new(&mut planner, config, dims, data)?;
            Ok((planner, resident))
        };
        let total = memory.map_or(usize::MAX, |memory| memory.total);
        let (planner, resident) =
            counted(config, total).or_else(|_: Error| counted(config, usize::MAX))?;
        let shares = BufferKind::ALL.map(|kind| planner.share(kind, &resident));

        let recompute_bytes = if config.checkpoint_activations {
            None
        } else {
            let same = TrainConfig {
                checkpoint_activations: true,
                batch_size: resident.micro_batch(),
                gradient_accumulation_steps: resident.micro_batches,
                ..config.clone()
            };
            let (_, resident) = counted(&same, usize::MAX)?;
            Some(resident.buffers().map(|made| 4 * made.buffer.words).sum())
        };
        let moving = resident.frozen.as_ref();
        let moving = moving.filter(|_| config.moves_reference());
        let policy = &resident.learner.policy;
        let is_split = |tensor: &&crate::model::Tensor| tensor.shards.len() > 1;
        let vocabulary_shards = policy.weights.gpt2.wte.shards.len();
        let split = policy.weights.gpt2.iter().filter(is_split).count();
        Ok(Plan {
            shares: shares.into(),
            extent: policy.ws.extent,
            micro_batches: resident.micro_batches,
            note: resident.note,
            head_rows: policy.ws.head.max_rows,
            vocabulary_shards,
            split_matrices: split - usize::from(vocabulary_shards > 1),
            max_binding_bytes,
            memory,
            checkpoint_bytes: Snapshot::bytes(&resident.learner.state_beside(moving)),
            recompute_bytes,
        })
    }

    /// The bytes of all buffers of the run.
    pub fn bytes(&self) -> usize {
        self.shares.iter().map(|share| share.bytes).sum()
    }
}

impl Planner {
    fn share(&self, kind: BufferKind, resident: &Resident) -> Share {
        let of_kind = resident.buffers().filter(|made| made.kind == kind);
        let buffers: Vec<Buffer> = of_kind.map(|made| made.buffer).collect();
        let largest = buffers.iter().max_by_key(|buffer| buffer.words);
        Share {
            kind,
            buffers: buffers.len(),
            bytes: buffers.iter().map(|buffer| 4 * buffer.words).sum(),
            largest: largest.map(|b| Largest {
                label: self.labels[b.id as usize].clone(),
                bytes: b.bytes(),
            }),
        }
    }
}
