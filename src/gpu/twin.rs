//! Holds the variants of a kernel to its CPU twin, on a step's own data.

use super::GpuEngine;
use crate::distance::{Distance, distance_of_changes};
use crate::engine::Engine;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::recording::Step;

/// A step's buffers as they were, and what the twin makes of them.
pub(super) struct Expected {
    before: Vec<Vec<u32>>,
    twin: Vec<Vec<u32>>,
}

impl Expected {
    /// True if it tells right variants from wrong ones: all finite, and something changed.
    pub fn tells(&self, step: &Step) -> bool {
        let (before, twin) = (written(step, &self.before), written(step, &self.twin));
        let off = distance_of_changes(before, twin, written(step, &self.twin));
        off.is_some_and(|off| off.within(&Distance::default()))
    }
}

impl GpuEngine {
    /// Reads a step's buffers, and runs the twin of `way` and of all of its precision.
    pub(super) fn expect(&mut self, step: &Step, way: &Kernel) -> Result<Expected> {
        let before = self.contents(step)?;
        Ok(Expected {
            twin: step.twin(way, before.clone()),
            before,
        })
    }

    /// How far from the twin the buffers come out when `way` runs; `None` if neither changes any.
    pub(super) fn try_out(
        &mut self,
        step: &Step,
        way: &'static Kernel,
        expected: &Expected,
    ) -> Result<Option<Distance>> {
        self.restore(step, expected)?;
        self.submit(&[(*step, way)], 1, None)?;
        let after = self.contents(step)?;
        let written = |buffers| written(step, buffers);
        Ok(distance_of_changes(
            written(&expected.before),
            written(&after),
            written(&expected.twin),
        ))
    }

    /// Puts back what the step's kernel may have written.
    pub(super) fn restore(&mut self, step: &Step, expected: &Expected) -> Result<()> {
        let storage = &step.kernel.reflection().storage;
        let buffers = storage.iter().zip(step.buffers()).zip(&expected.before);
        for ((binding, &buffer), words) in buffers {
            if binding.written {
                self.write(buffer, 0, words)?;
            }
        }
        Ok(())
    }

    fn contents(&mut self, step: &Step) -> Result<Vec<Vec<u32>>> {
        let buffers = step.buffers().iter();
        buffers.map(|&b| self.read(b, b.words)).collect()
    }
}

/// What the kernel may have written, of the contents of all of a step's buffers.
fn written<'a>(step: &'a Step, buffers: &'a [Vec<u32>]) -> impl Iterator<Item = &'a [u32]> {
    let storage = step.kernel.reflection().storage.iter();
    let pairs = storage.zip(buffers).filter(|(binding, _)| binding.written);
    pairs.map(|(_, words)| &words[..])
}
