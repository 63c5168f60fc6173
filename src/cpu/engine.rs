//! Runs recordings on the CPU.

use std::collections::HashMap;
use std::time::Instant;

use crate::engine::{self, Engine, Held, Ticket, Timing, Usage};
use crate::error::{Error, Result};
use crate::kernel::{Bindings, Slot};
use crate::recording::{Buffer, Recording, Step};

/// The CPU as an [`Engine`]: buffers are vectors, kernels are their twins.
pub struct CpuEngine {
    buffers: Vec<Vec<u32>>,
    held: Held,
    /// When [`Engine::watch`] was called, and the runs since.
    watch: Option<(Instant, Vec<Timing>)>,
    fetched: HashMap<u64, Vec<u32>>,
    next_ticket: u64,
    max_binding_bytes: usize,
}

impl Default for CpuEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuEngine {
    /// A CPU device without limits but memory and the kernels' 32-bit indices.
    pub fn new() -> Self {
        Self::with_max_binding(u32::MAX as usize)
    }

    /// The same, refusing buffers above `bytes`, as a GPU with that limit would: it makes the model
    /// split its weights.
    pub fn with_max_binding(bytes: usize) -> Self {
        CpuEngine {
            buffers: Vec::new(),
            held: Held::default(),
            watch: None,
            fetched: HashMap::new(),
            next_ticket: 0,
            max_binding_bytes: bytes,
        }
    }

    fn run_step(&mut self, step: &Step) {
        // Written buffers are taken out for the call, so that they can be borrowed beside the others.
        let bindings = &step.kernel.reflection().storage;
        let mut taken: Vec<Option<Vec<u32>>> = step
            .buffers()
            .iter()
            .zip(bindings)
            .map(|(buffer, binding)| {
                binding
                    .written
                    .then(|| std::mem::take(&mut self.buffers[buffer.id as usize]))
            })
            .collect();
        let slots = step
            .buffers()
            .iter()
            .zip(&mut taken)
            .map(|(buffer, taken)| match taken {
                Some(words) => Slot::Write(words),
                None => Slot::Read(&self.buffers[buffer.id as usize]),
            })
            .collect();
        (step.kernel.twin)(step.params(), Bindings::new(slots));
        for (buffer, taken) in step.buffers().iter().zip(taken) {
            if let Some(words) = taken {
                self.buffers[buffer.id as usize] = words;
            }
        }
    }
}

impl Engine for CpuEngine {
    fn name(&self) -> String {
        format!("CPU ({} threads)", rayon::current_num_threads())
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
        let mut data: Vec<u32> = Vec::new();
        data.try_reserve_exact(words).map_err(|_| {
            Error::device(
                format!("out of memory: {label} needs {} MiB", (4 * words) >> 20),
                "lower --batch-size or the token budgets",
            )
        })?;
        data.resize(words, 0);
        self.buffers.push(data);
        self.held.add(words);
        Ok(Buffer {
            id: (self.buffers.len() - 1) as u32,
            words,
        })
    }

    fn release(&mut self, buffer: Buffer) {
        self.buffers[buffer.id as usize] = Vec::new();
        self.held.sub(buffer.words);
    }

    fn write(&mut self, buffer: Buffer, offset: usize, data: &[u32]) -> Result<()> {
        self.buffers[buffer.id as usize][offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn run(&mut self, recording: &Recording) -> Result<()> {
        let begin = Instant::now();
        for step in &recording.steps {
            self.run_step(step);
        }
        if let Some((since, runs)) = &mut self.watch {
            runs.push(Timing {
                start: (begin - *since).as_secs_f64(),
                seconds: begin.elapsed().as_secs_f64(),
            });
        }
        Ok(())
    }

    fn fetch(&mut self, buffer: Buffer, words: usize) -> Result<Ticket> {
        let copy = self.buffers[buffer.id as usize][..words].to_vec();
        self.next_ticket += 1;
        self.fetched.insert(self.next_ticket, copy);
        Ok(Ticket(self.next_ticket))
    }

    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u32>> {
        Ok(self.fetched.remove(&ticket.0).unwrap_or_default())
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    fn watch(&mut self) {
        self.held.restart();
        self.watch = Some((Instant::now(), Vec::new()));
    }

    fn usage(&mut self) -> Result<Usage> {
        let runs = self.watch.take().map(|(_, runs)| runs);
        Ok(Usage {
            peak_bytes: Some(self.held.peak()),
            idle: runs.and_then(|runs| engine::idle(&runs)),
        })
    }
}
