//! The pipelines of a device. Each is compiled once: ahead of its use in threads of their own, or by who needs it
//! first.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::kept::Kept;
use super::once::{OnceEach, held};
use super::pipeline::{Compiler, Pipeline};
use crate::kernel::Kernel;

/// The most threads that compile ahead. Drivers' compilers take much memory.
const MAX_THREADS: usize = 8;

/// A kernel's address, its key: kernels are statics.
fn key(kernel: &'static Kernel) -> usize {
    std::ptr::from_ref(kernel).addr()
}

/// The pipelines of a device, and the file that keeps them for the next run.
pub(super) struct Pipelines {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// The kernels that recordings took, in the order of their first use; not those that were only measured.
    used: Vec<&'static Kernel>,
    file: Option<PathBuf>,
    /// What the file held when the device was opened.
    found: Kept,
}

struct Shared {
    compiler: Compiler,
    made: OnceEach<usize, Pipeline>,
    /// The kernels to compile ahead, in order.
    ahead: Mutex<VecDeque<&'static Kernel>>,
}

impl Shared {
    fn get(&self, kernel: &'static Kernel) -> Pipeline {
        let compile = || self.compiler.compile(kernel);
        self.made.get(key(kernel), compile)
    }

    /// Compiles what is to be compiled ahead until nothing is left.
    fn work(&self) {
        loop {
            let next = held(&self.ahead).pop_front();
            match next {
                Some(kernel) => drop(self.get(kernel)),
                None => return,
            }
        }
    }
}

impl Pipelines {
    /// The pipelines of `device`. The kernels that an earlier run used, as `file` tells, are compiled at once, beside
    /// what the caller does meanwhile; `known` are those that it may name.
    pub fn new(
        device: &wgpu::Device,
        checked: bool,
        file: Option<&Path>,
        known: &[&'static Kernel],
    ) -> Pipelines {
        let found = file.map(Kept::read).unwrap_or_default();
        let cache = file.and_then(|_| found.driver_cache(device));
        let mut pipelines = Pipelines {
            shared: Arc::new(Shared {
                compiler: Compiler::new(device.clone(), checked, cache),
                made: OnceEach::default(),
                ahead: Mutex::default(),
            }),
            threads: Vec::new(),
            used: Vec::new(),
            file: file.map(Path::to_owned),
            found,
        };
        let earlier = pipelines.found.kernels.iter();
        let earlier: Vec<_> = earlier
            .filter_map(|name| known.iter().copied().find(|k| k.full_name() == *name))
            .collect();
        pipelines.compile_ahead(earlier);
        pipelines
    }

    /// The pipeline of a kernel; it waits until the kernel is compiled.
    pub fn get(&self, kernel: &'static Kernel) -> Pipeline {
        self.shared.get(kernel)
    }

    /// True if the kernel is compiled.
    pub fn is_ready(&self, kernel: &'static Kernel) -> bool {
        self.shared.made.has(&key(kernel))
    }

    /// Notes that a recording takes these kernels, and compiles those that are new ahead.
    pub fn expect(&mut self, kernels: impl Iterator<Item = &'static Kernel>) {
        let begin = self.used.len();
        for kernel in kernels {
            if !self.used.iter().any(|&k| std::ptr::eq(k, kernel)) {
                self.used.push(kernel);
            }
        }
        self.compile_ahead(self.used[begin..].to_vec());
    }

    /// Compiles these kernels in other threads, in this order, and before all that was asked for earlier.
    pub fn compile_ahead(&mut self, kernels: Vec<&'static Kernel>) {
        let begun = |kernel: &&'static Kernel| self.shared.made.is_begun(&key(kernel));
        let missing: Vec<_> = kernels.into_iter().filter(|k| !begun(k)).collect();
        if missing.is_empty() {
            return;
        }
        let waiting = {
            let mut ahead = held(&self.shared.ahead);
            for kernel in missing.into_iter().rev() {
                ahead.push_front(kernel);
            }
            ahead.len()
        };
        self.threads.retain(|thread| !thread.is_finished());
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in self.threads.len()..cores.min(MAX_THREADS).min(waiting) {
            let shared = Arc::clone(&self.shared);
            let worker = thread::Builder::new().name("compile".into());
            // Without threads each kernel is compiled by who needs it.
            self.threads
                .extend(worker.spawn(move || shared.work()).ok());
        }
    }

    /// Ends what goes on in other threads, so that it disturbs no measurement: what was not begun is compiled when it
    /// is needed.
    pub fn settle(&self) {
        held(&self.shared.ahead).clear();
        self.shared.made.wait();
    }

    /// Keeps the list of kernels and the driver's compiled code for the next run. The kernels of this run come first;
    /// those that only earlier runs used follow.
    fn store(&self) {
        let Some(file) = &self.file else { return };
        let mut kernels: Vec<String> = self.used.iter().map(|k| k.full_name()).collect();
        let missing = |name: &&String| !kernels.contains(name);
        let earlier: Vec<String> = self.found.kernels.iter().filter(missing).cloned().collect();
        kernels.extend(earlier);
        let is_new = |kernel: &String| !self.found.kernels.contains(kernel);
        if kernels.iter().any(is_new) {
            let data = self.shared.compiler.cache.as_ref();
            let code = data.and_then(wgpu::PipelineCache::get_data);
            // The next run compiles anew what cannot be kept.
            let _ = Kept::new(kernels, code.unwrap_or_default()).write(file);
        }
    }
}

impl Drop for Pipelines {
    /// Waits for the compilers under way: the program may end, and drivers do not expect that beside their work.
    fn drop(&mut self) {
        held(&self.shared.ahead).clear();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said why.
            let _ = thread.join();
        }
        self.store();
    }
}
