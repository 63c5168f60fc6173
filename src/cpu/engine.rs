//! Runs recordings on the CPU.

use std::collections::HashMap;
use std::time::Instant;

use super::pages::Pages;
use crate::buffer::Buffer;
use crate::engine::{self, Engine, Held, Memory, Ticket, Timing, Usage};
use crate::error::{Error, Result};
use crate::kernel::{Bindings, Kernel, Slot};
use crate::recording::{Recording, Step};
use crate::target::{MatrixUnits, Precision, Target};

/// The CPU as an [`Engine`]: it runs the kernels' twins.
pub struct CpuEngine {
    /// The buffers; one is empty after its release, and while a step writes it.
    buffers: Vec<Pages>,
    held: Held,
    /// The time of the last [`Engine::watch`], and the runs since then.
    watch: Option<(Instant, Vec<Timing>)>,
    fetched: HashMap<u64, Vec<u32>>,
    next_ticket: u64,
    max_binding_bytes: usize,
    memory: Option<Memory>,
    target: Target,
}

impl Default for CpuEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuEngine {
    /// A CPU device without limits but what can be allocated and the kernels' 32-bit indices.
    pub fn new() -> Self {
        Self::with_max_binding(u32::MAX as usize)
    }

    /// A CPU device that refuses buffers above `bytes`, like a GPU with that limit. It makes the model split
    /// its weights.
    pub fn with_max_binding(bytes: usize) -> Self {
        CpuEngine {
            buffers: Vec::new(),
            held: Held::default(),
            watch: None,
            fetched: HashMap::new(),
            next_ticket: 0,
            max_binding_bytes: bytes,
            memory: None,
            target: Target {
                software: true,
                precision: Precision::F32,
                matrix_units: MatrixUnits {
                    eight: true,
                    sixteen: true,
                },
            },
        }
    }

    /// The same on a machine with this memory: what is more than all of it is refused, where a system that
    /// promises more than it has would end the process.
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.memory = Some(memory);
        self
    }

    /// The same, rounding what a GPU's matrix units would with this precision.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.target.precision = precision;
        self
    }

    /// The kernel whose twin runs a step.
    fn kernel(&self, step: &Step) -> &'static Kernel {
        let rounds = |way: &&Kernel| {
            way.precision == Precision::Mixed && step.rate(way, &self.target).is_some()
        };
        step.kernel.ways().find(rounds).unwrap_or(step.kernel)
    }

    /// Refuses what the machine cannot hold at all, as far as its memory is known.
    fn reserve(&self, label: &str, words: usize) -> Result<Pages> {
        let total = self.memory.map_or(usize::MAX, |memory| memory.total);
        let fits = self.held.now() + 4 * words <= total;
        let pages = fits.then(|| Pages::zeros(words).ok()).flatten();
        pages.ok_or_else(|| {
            Error::device(
                format!(
                    "out of memory: {label} needs {} MiB beside {} MiB in use",
                    (4 * words) >> 20,
                    self.held.now() >> 20
                ),
                "lower `.batch_size` or the token budgets",
            )
        })
    }

    fn run_step(&mut self, step: &Step) {
        let kernel = self.kernel(step);
        // A written buffer is taken out for the call, so that it can be borrowed mutably beside the others.
        let bindings = &step.kernel.reflection().storage;
        let mut taken: Vec<Option<Pages>> = step
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
                Some(pages) => Slot::Write(pages.words_mut()),
                None => Slot::Read(self.buffers[buffer.id as usize].words()),
            })
            .collect();
        (kernel.twin)(step.params(), Bindings::new(slots));
        for (buffer, taken) in step.buffers().iter().zip(taken) {
            if let Some(pages) = taken {
                self.buffers[buffer.id as usize] = pages;
            }
        }
    }
}

impl Engine for CpuEngine {
    fn name(&self) -> String {
        format!("CPU ({} threads)", rayon::current_num_threads())
    }

    fn identity(&self) -> String {
        format!("{}, {:?}", self.name(), self.target.precision)
    }

    fn is_asynchronous(&self) -> bool {
        false
    }

    fn max_binding_bytes(&self) -> usize {
        self.max_binding_bytes
    }

    fn memory(&self) -> Option<Memory> {
        self.memory
    }

    fn create(&mut self, label: &str, words: usize) -> Result<Buffer> {
        if 4 * words > self.max_binding_bytes {
            return Err(Error::too_large(label, words, self.max_binding_bytes));
        }
        let pages = self.reserve(label, words)?;
        self.buffers.push(pages);
        self.held.add(words);
        Ok(Buffer {
            id: (self.buffers.len() - 1) as u32,
            words,
        })
    }

    fn release(&mut self, buffer: Buffer) {
        self.buffers[buffer.id as usize] = Pages::default();
        self.held.sub(buffer.words);
    }

    fn write(&mut self, buffer: Buffer, offset: usize, data: &[u32]) -> Result<()> {
        let words = self.buffers[buffer.id as usize].words_mut();
        words[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn recording(&self) -> Recording {
        // No operating system stops long CPU work, and products in one piece are faster.
        Recording::with_max_step_flops(u64::MAX)
    }

    fn run(&mut self, recording: &Recording) -> Result<()> {
        let begin = Instant::now();
        // The steps run inside the thread pool, so that no step pays for entering it.
        rayon::scope(|_| {
            for step in &recording.steps {
                self.run_step(step);
            }
        });
        if let Some((since, runs)) = &mut self.watch {
            runs.push(Timing {
                start: (begin - *since).as_secs_f64(),
                seconds: begin.elapsed().as_secs_f64(),
            });
        }
        Ok(())
    }

    fn fetch(&mut self, buffer: Buffer, words: usize) -> Result<Ticket> {
        let copy = self.buffers[buffer.id as usize].words()[..words].to_vec();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_machine_has() {
        let mut engine = CpuEngine::new().with_memory(Memory {
            total: 1000,
            free: 0,
        });
        let first = engine.create("first", 200).unwrap();
        let error = engine.create("second", 51).err().unwrap().to_string();
        assert!(error.contains("out of memory: second"), "{error}");
        engine.release(first);
        engine.create("second", 51).unwrap();
    }
}
