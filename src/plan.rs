//! What a training run keeps on its device: made there, or only counted, by the same code.

use std::fmt;
use std::iter::successors;

use crate::batch::Extent;
use crate::buffer::Buffer;
use crate::config::{ReferenceMode, TrainConfig};
use crate::data::Dataset;
use crate::engine::{Engine, Memory, Ticket};
use crate::error::{Error, Result};
use crate::learner::{Learner, Objective, Room};
use crate::model::{Dims, Kind, Layout, Tensors};
use crate::recording::Recording;

/// Everything of a run that lies on its device.
pub struct Resident {
    /// The model in training; its weights are 0.
    pub learner: Learner,
    /// Room for the frozen copy, with [`ReferenceMode::OnTheFly`]; 0 as well.
    pub frozen: Option<Tensors>,
    /// Micro-batches of an optimizer step.
    pub micro_batches: usize,
    /// Says so where a micro-batch has fewer pairs than `batch_size`, which did not fit.
    pub note: Option<String>,
}

impl Resident {
    /// Makes the buffers. Where a micro-batch of `batch_size` pairs does not fit the device, it is
    /// halved until it does. The pairs of an optimizer step stay the same, and so do the numbers but
    /// for rounding.
    ///
    /// # Errors
    /// `Error::Device` if the tensors or one pair's activations do not fit.
    pub fn new(
        engine: &mut dyn Engine,
        config: &TrainConfig,
        dims: &Dims,
        (train, eval): (&Dataset, Option<&Dataset>),
    ) -> Result<Resident> {
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
        let halves = successors(Some(asked), |&pairs| (pairs > 1).then(|| pairs.div_ceil(2)));
        let smaller: Vec<Extent> = halves.skip(1).map(extent_of).collect();
        let step = config.pairs_per_step().min(train.examples.len());
        let room = Room {
            extent: extent_of(asked),
            smaller: &smaller,
            pairs: step.max(eval.map_or(0, |eval| eval.examples.len())),
            checkpointed: config.checkpoint_activations,
        };
        let layout = Layout::new(dims, engine.max_binding_bytes(), room.extent.pair_heads)?;
        let frozen_copy = match objective {
            Objective::Sigmoid { .. } => config.reference == ReferenceMode::OnTheFly,
            Objective::Sft => false,
        };
        let mut make = || {
            let frozen = frozen_copy.then(|| Tensors::zeros(engine, &layout, "reference weight"));
            let frozen = frozen.transpose()?;
            let recipe = (objective, config.optimizer());
            let learner = Learner::empty(engine, &layout, recipe, &room)?;
            Ok((learner, frozen))
        };
        let (learner, frozen) = make().map_err(explain)?;

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
            micro_batches,
            note,
        })
    }

    /// Pairs of a micro-batch.
    pub fn micro_batch(&self) -> usize {
        self.learner.policy.ws.extent.pairs
    }

    /// Every buffer, and what it is for.
    pub fn buffers(&self) -> impl Iterator<Item = (Kind, Buffer)> {
        let frozen = self.frozen.iter().flat_map(Tensors::buffers);
        let frozen = frozen.map(|buffer| (Kind::Reference, buffer));
        self.learner.buffers().chain(frozen)
    }
}

/// What does not fit has been tried with a single pair: what else a user can do.
fn explain(error: Error) -> Error {
    match error {
        Error::Device { what, .. } => Error::device(
            what,
            "`plan::Plan` shows what takes how much; `.checkpoint_activations`, lower token \
             budgets or a smaller model take less, and `.device` cpu has the machine's memory",
        ),
        other => other,
    }
}

/// An engine that makes nothing: it counts buffers, within the limits of a device.
pub struct Planner {
    max_binding_bytes: usize,
    room_bytes: usize,
    bytes: usize,
    labels: Vec<String>,
}

impl Planner {
    /// Refuses buffers above `max_binding_bytes`, and all that are more than `room_bytes` together.
    pub fn new(max_binding_bytes: usize, room_bytes: usize) -> Planner {
        Planner {
            max_binding_bytes,
            room_bytes,
            bytes: 0,
            labels: Vec::new(),
        }
    }
}

impl Planner {
    /// What was made and not released.
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

    fn max_binding_bytes(&self) -> usize {
        self.max_binding_bytes
    }

    fn create(&mut self, label: &str, words: usize) -> Result<Buffer> {
        if 4 * words > self.max_binding_bytes {
            return Err(Error::too_large(label, words, self.max_binding_bytes));
        }
        let Some(left) = self.room_bytes.checked_sub(4 * words) else {
            return Err(Error::device(
                format!("no room for {label} ({} MiB)", (4 * words) >> 20),
                "lower `.batch_size` or the token budgets",
            ));
        };
        self.room_bytes = left;
        self.bytes += 4 * words;
        self.labels.push(label.to_owned());
        Ok(Buffer {
            id: self.labels.len() as u32 - 1,
            words,
        })
    }

    fn release(&mut self, buffer: Buffer) {
        self.room_bytes += 4 * buffer.words;
        self.bytes -= 4 * buffer.words;
    }

    fn write(&mut self, _: Buffer, _: usize, _: &[u32]) -> Result<()> {
        Ok(())
    }

    fn run(&mut self, _: &Recording) -> Result<()> {
        Ok(())
    }

    fn fetch(&mut self, _: Buffer, _: usize) -> Result<Ticket> {
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

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Weights => "weights",
            Kind::Gradients => "gradients",
            Kind::Optimizer => "optimizer",
            Kind::Activations => "activations",
            Kind::Head => "head",
            Kind::Reference => "reference",
            Kind::Inputs => "inputs",
        })
    }
}

/// What the buffers of one kind take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What they are for.
    pub kind: Kind,
    /// How many.
    pub buffers: usize,
    /// All together.
    pub bytes: usize,
    /// Label and bytes of the largest; `None` where there are none.
    pub largest: Option<(String, usize)>,
}

/// What a run would take on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One for each of [`Kind::ALL`].
    pub shares: Vec<Share>,
    /// The largest micro-batch.
    pub extent: Extent,
    /// Micro-batches of an optimizer step.
    pub micro_batches: usize,
    /// Says so where it has fewer pairs than `batch_size`.
    pub note: Option<String>,
    /// Head rows whose logits are held at a time.
    pub head_rows: usize,
    /// Buffers that the vocabulary matrix is cut into.
    pub vocabulary_shards: usize,
    /// Other matrices that are cut.
    pub split_matrices: usize,
    /// The largest buffer that the device binds.
    pub max_binding_bytes: usize,
    /// What the device has, where it tells.
    pub memory: Option<Memory>,
    /// All of the same run with `checkpoint_activations`; `None` where that is given.
    pub checkpointed_bytes: Option<usize>,
}

impl Plan {
    /// Counts what [`Resident::new`] would make on `engine`, which is only asked for its limits. What the
    /// engine and its driver keep for themselves (uniforms, copies under way, partial sums) comes on top.
    ///
    /// # Errors
    /// `Error::Device` as there, but for a lack of memory: see [`Plan::memory`].
    pub fn new(
        engine: &dyn Engine,
        config: &TrainConfig,
        dims: &Dims,
        data: (&Dataset, Option<&Dataset>),
    ) -> Result<Plan> {
        let (max_binding_bytes, memory) = (engine.max_binding_bytes(), engine.memory());
        let counted = |config: &TrainConfig, room_bytes: usize| {
            let mut planner = Planner::new(max_binding_bytes, room_bytes);
            let resident = Resident::new(&mut planner, config, dims, data)?;
            Ok((planner, resident))
        };
        let total = memory.map_or(usize::MAX, |memory| memory.total);
        let (planner, resident) =
            counted(config, total).or_else(|_: Error| counted(config, usize::MAX))?;
        let shares = Kind::ALL.map(|kind| planner.share(kind, &resident));

        let checkpointed_bytes = if config.checkpoint_activations {
            None
        } else {
            let same = TrainConfig {
                checkpoint_activations: true,
                batch_size: resident.micro_batch(),
                gradient_accumulation_steps: resident.micro_batches,
                ..config.clone()
            };
            let (_, resident) = counted(&same, usize::MAX)?;
            Some(resident.buffers().map(|(_, buffer)| 4 * buffer.words).sum())
        };
        let policy = &resident.learner.policy;
        let is_split = |tensor: &&crate::model::Tensor| tensor.shards.len() > 1;
        let vocabulary_shards = policy.weights.wte().shards.len();
        let split = policy.weights.all.iter().filter(is_split).count();
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
            checkpointed_bytes,
        })
    }

    /// All that the run takes.
    pub fn bytes(&self) -> usize {
        self.shares.iter().map(|share| share.bytes).sum()
    }
}

impl Planner {
    fn share(&self, kind: Kind, resident: &Resident) -> Share {
        let of_kind = resident.buffers().filter(|(k, _)| *k == kind);
        let buffers: Vec<Buffer> = of_kind.map(|(_, buffer)| buffer).collect();
        let largest = buffers.iter().max_by_key(|buffer| buffer.words);
        Share {
            kind,
            buffers: buffers.len(),
            bytes: buffers.iter().map(|buffer| 4 * buffer.words).sum(),
            largest: largest.map(|b| (self.labels[b.id as usize].clone(), 4 * b.words)),
        }
    }
}
