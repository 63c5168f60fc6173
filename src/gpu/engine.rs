//! Runs recordings on a GPU.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::pace::{self, Pace};
use super::pipeline::Pipeline;
use super::timer::Timer;
use super::tuner::Tuner;
use super::variants::{Choices, bound, partials};
use super::{AdapterReport, OpenOptions};
use crate::buffer::Buffer;
use crate::engine::{self, Clock, Compared, Engine, Held, Ticket, Timing, Usage};
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::recording::{MAX_PARAMS, MAX_STEP_FLOPS, Recording, Step};
use crate::target::Target;

/// Steps of one submission at most, each with its slot in the params ring.
const RING_SLOTS: usize = 1024;

/// Submissions under way at most: each holds the host's copies of what was written for it.
const MAX_IN_FLIGHT: usize = 64;

/// Bytes written after which the host's copies are handed on, so that uploading a model does not hold
/// it twice.
const MAX_UNSUBMITTED_BYTES: usize = 64 << 20;

/// A GPU opened through wgpu.
pub struct GpuEngine {
    name: String,
    identity: String,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    options: OpenOptions,
    pub(super) choices: Choices,
    /// For the user; see [`Engine::notes`].
    pub(super) notes: Vec<String>,
    buffers: Vec<Option<wgpu::Buffer>>,
    held: Held,
    pipelines: HashMap<*const Kernel, Pipeline>,
    bind_groups: HashMap<BindGroupKey, wgpu::BindGroup>,
    /// The uniform params of a submission's steps, one aligned slot each.
    ring: wgpu::Buffer,
    slot_bytes: usize,
    /// What the first pass of a variant in two passes leaves for the second.
    partials: Option<wgpu::Buffer>,
    readbacks: Readbacks,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    pace: Pace,
    /// When submissions of steps were seen to be done, since `opened`.
    finished: (Sender<f64>, Receiver<f64>),
    opened: Instant,
    unsubmitted_bytes: usize,
    /// The passes since [`Engine::watch`], where the device has timestamps.
    watch: Option<Timer>,
    failure: Arc<Mutex<Option<String>>>,
}

/// A kernel and the buffers of the step that it runs for.
type BindGroupKey = (*const Kernel, [u32; Step::MAX_BUFFERS]);

/// Copies to the host under way, and staging buffers to use again.
#[derive(Default)]
struct Readbacks {
    pending: HashMap<u64, Readback>,
    idle: Vec<wgpu::Buffer>,
    next: u64,
}

struct Readback {
    staging: wgpu::Buffer,
    bytes: u64,
    submission: wgpu::SubmissionIndex,
    mapped: Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl GpuEngine {
    pub(super) fn new(
        report: &AdapterReport,
        (device, queue): (wgpu::Device, wgpu::Queue),
        options: OpenOptions,
        target: Target,
    ) -> Self {
        let failure = Arc::new(Mutex::new(None));
        let keep_first = |failure: &Arc<Mutex<Option<String>>>| {
            let failure = Arc::clone(failure);
            move |message: String| {
                if let Ok(mut first) = failure.lock() {
                    first.get_or_insert(message);
                }
            }
        };
        let on_error = keep_first(&failure);
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| on_error(e.to_string())));
        let on_loss = keep_first(&failure);
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                on_loss(format!("device lost: {message}"));
            }
        });
        let alignment = device.limits().min_uniform_buffer_offset_alignment as usize;
        let slot_bytes = MAX_PARAMS.next_multiple_of(alignment);
        let ring = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("params"),
            size: (RING_SLOTS * slot_bytes) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let tuner = options.tuning.as_deref().map(Tuner::open);
        let max_words = max_binding_bytes(&device, &options) / 4;
        GpuEngine {
            name: report.to_string(),
            identity: format!(
                "{report}, {}, {:?}, {:?}",
                report.driver, options.variant, options.precision
            ),
            choices: Choices::new(options.variant, target, max_words, (tuner, options.measure)),
            notes: Vec::new(),
            device,
            queue,
            options,
            buffers: Vec::new(),
            held: Held::default(),
            pipelines: HashMap::new(),
            bind_groups: HashMap::new(),
            ring,
            slot_bytes,
            partials: None,
            readbacks: Readbacks::default(),
            in_flight: VecDeque::new(),
            pace: Pace::new(),
            finished: channel(),
            opened: Instant::now(),
            unsubmitted_bytes: 0,
            watch: None,
            failure,
        }
    }

    /// What the driver reported since the last call, as an error.
    pub(super) fn check(&self) -> Result<()> {
        let message = match self.failure.lock() {
            Ok(mut failure) => failure.take(),
            Err(_) => Some("the error handler panicked".to_owned()),
        };
        match message {
            None => Ok(()),
            Some(message) => Err(Error::device(
                format!("{}: {message}", self.name),
                "lower `.batch_size`, update the driver, or use `.device` cpu; \
                 `gpt2-dpo selftest` tells whether the device can be trusted",
            )),
        }
    }

    fn has_timestamps(&self) -> bool {
        let features = self.device.features();
        features.contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// # Panics
    /// If the buffer was released: a mistake of the caller.
    fn buffer(&self, buffer: Buffer) -> &wgpu::Buffer {
        let slot = self.buffers.get(buffer.id as usize);
        slot.and_then(Option::as_ref)
            .expect("the buffer was released")
    }

    /// Name and variant of every kernel chosen so far among several.
    pub fn chosen(&self) -> impl Iterator<Item = (String, &'static str)> {
        self.choices.all().map(|way| (way.name(), way.variant))
    }

    fn bind_group_key(step: &Step, kernel: &'static Kernel) -> BindGroupKey {
        let mut ids = [u32::MAX; Step::MAX_BUFFERS];
        for (id, buffer) in ids.iter_mut().zip(step.buffers()) {
            *id = buffer.id;
        }
        (kernel, ids)
    }

    /// Makes what a pass of a step needs and has not met before.
    fn prepare(&mut self, step: &Step, kernel: &'static Kernel) {
        if !self.pipelines.contains_key(&(kernel as *const Kernel)) {
            let pipeline = Pipeline::new(&self.device, kernel, self.options.checked);
            self.pipelines.insert(kernel, pipeline);
        }
        let key = Self::bind_group_key(step, kernel);
        if self.bind_groups.contains_key(&key) {
            return;
        }
        let params = wgpu::BufferBinding {
            buffer: &self.ring,
            offset: 0,
            size: wgpu::BufferSize::new(MAX_PARAMS as u64),
        };
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(params),
        }];
        let bindings = &kernel.reflection().storage;
        for (binding, place) in bindings.iter().zip(bound(step, kernel)) {
            let buffer = match place {
                Some(i) => self.buffer(step.buffers()[i]),
                None => self.partials.as_ref().expect("made before"),
            };
            entries.push(wgpu::BindGroupEntry {
                binding: binding.binding,
                resource: buffer.as_entire_binding(),
            });
        }
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&kernel.name()),
            layout: &self.pipelines[&(kernel as *const Kernel)].layout,
            entries: &entries,
        });
        self.bind_groups.insert(key, group);
    }

    /// Room for `words` words of partial results.
    pub(super) fn reserve_partials(&mut self, words: usize) -> Result<()> {
        let bytes = 4 * words as u64;
        if self.partials.as_ref().map_or(0, wgpu::Buffer::size) < bytes {
            let buffer = self.create_buffer("partial results", words)?;
            self.held.add(words);
            self.partials = Some(buffer);
            // They hold the buffer that was too small.
            self.bind_groups.clear();
        }
        Ok(())
    }

    fn create_buffer(&self, label: &str, words: usize) -> Result<wgpu::Buffer> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            // Kernels may read by fours: the last ones are all there.
            size: (4 * words as u64).next_multiple_of(16),
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        match pollster::block_on(scope.pop()) {
            None => Ok(buffer),
            Some(e) => Err(Error::device(
                format!(
                    "{}: no memory for {label} ({} MiB): {e}",
                    self.name,
                    (4 * words) >> 20
                ),
                "lower `.batch_size` or the token budgets, or use `.device` cpu",
            )),
        }
    }

    /// Submits these steps, each by the kernel beside it, `pass_steps` of them to a compute pass, whose
    /// times `timer` gets.
    pub(super) fn submit(
        &mut self,
        steps: &[(Step, &'static Kernel)],
        pass_steps: usize,
        mut timer: Option<&mut Timer>,
    ) -> Result<()> {
        let mut params = vec![0; steps.len() * self.slot_bytes];
        for ((step, kernel), slot) in steps.iter().zip(params.chunks_mut(self.slot_bytes)) {
            slot[..step.params().len()].copy_from_slice(step.params());
            self.reserve_partials(partials(step, kernel))?;
        }
        for (step, kernel) in steps {
            for pass in kernel.passes() {
                self.prepare(step, pass);
            }
        }
        self.queue.write_buffer(&self.ring, 0, &params);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let slots: Vec<_> = steps.iter().enumerate().collect();
        for steps in slots.chunks(pass_steps) {
            let timer = timer.as_deref_mut();
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: timer.map(|timer| timer.next_pass(&self.device)),
            });
            for &(i, (step, kernel)) in steps {
                for kernel in kernel.passes() {
                    let [x, y, z] = step.groups(kernel);
                    pass.set_pipeline(&self.pipelines[&(kernel as *const Kernel)].pipeline);
                    let group = &self.bind_groups[&Self::bind_group_key(step, kernel)];
                    pass.set_bind_group(0, group, &[(i * self.slot_bytes) as u32]);
                    pass.dispatch_workgroups(x, y, z);
                }
            }
        }
        self.note_finished();
        let work = steps.iter().map(|(step, _)| pace::work(step)).sum();
        self.pace
            .submitted(self.opened.elapsed().as_secs_f64(), work);
        self.hand_over(Some(encoder.finish()));
        let (finished, opened) = (self.finished.0.clone(), self.opened);
        self.queue.on_submitted_work_done(move || {
            // The receiver is gone only when the engine is.
            let _ = finished.send(opened.elapsed().as_secs_f64());
        });
        self.check()
    }

    /// Runs a recording, each step in a pass of its own if `alone`; `timer` gets the passes' times.
    /// Variants not yet chosen are measured when their step's turn comes, on the data that it finds.
    pub(super) fn run_steps(
        &mut self,
        recording: &Recording,
        alone: bool,
        mut timer: Option<&mut Timer>,
    ) -> Result<()> {
        let steps = &recording.steps;
        let mut done = 0;
        for (i, step) in steps.iter().enumerate() {
            if self.choices.settle(step).is_none() {
                self.run_settled(&steps[done..i], alone, timer.as_deref_mut())?;
                self.tune(step)?;
                done = i;
            }
        }
        self.run_settled(&steps[done..], alone, timer)?;
        let stored = self.choices.tuner.as_mut().and_then(Tuner::store);
        self.notes.extend(stored);
        Ok(())
    }

    /// The same for steps whose kernels are chosen.
    fn run_settled(
        &mut self,
        steps: &[Step],
        alone: bool,
        mut timer: Option<&mut Timer>,
    ) -> Result<()> {
        let mut rest = steps;
        while !rest.is_empty() {
            self.note_finished();
            let next;
            (next, rest) = rest.split_at(submission(rest, self.pace.limit()));
            let chosen = |step: &Step| (*step, self.choices.get(step).unwrap_or(step.kernel));
            let next: Vec<_> = next.iter().map(chosen).collect();
            let pass_steps = if alone { 1 } else { next.len() };
            self.submit(&next, pass_steps, timer.as_deref_mut())?;
        }
        Ok(())
    }

    /// Tells the pace what was seen to be done: all that one look at the device showed, together.
    fn note_finished(&mut self) {
        let seen: Vec<f64> = self.finished.1.try_iter().collect();
        if let Some(&latest) = seen.last() {
            self.pace.finished(latest, seen.len());
        }
    }

    /// Submits, waiting first if too much is under way.
    pub(super) fn hand_over(
        &mut self,
        commands: Option<wgpu::CommandBuffer>,
    ) -> wgpu::SubmissionIndex {
        if self.in_flight.len() == MAX_IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            // A device that fails here reports it through its callbacks.
            let _ = self.device.poll(wgpu::PollType::Wait {
                submission_index: Some(oldest),
                timeout: None,
            });
        }
        let index = self.queue.submit(commands);
        self.in_flight.push_back(index.clone());
        self.unsubmitted_bytes = 0;
        index
    }

    fn staging(&mut self, bytes: u64) -> wgpu::Buffer {
        let idle = &mut self.readbacks.idle;
        match idle.iter().position(|b| b.size() == bytes) {
            Some(i) => idle.swap_remove(i),
            None => self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback"),
                size: bytes,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }),
        }
    }

    /// Asks for a copy of a buffer's first bytes.
    pub(super) fn copy_out(&mut self, source: &wgpu::Buffer, bytes: usize) -> Result<Ticket> {
        let bytes = bytes as u64;
        let staging = self.staging(bytes);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(source, 0, &staging, 0, bytes);
        let submission = self.hand_over(Some(encoder.finish()));
        let (sender, mapped) = channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone only when the engine is.
            let _ = sender.send(result);
        });
        let id = self.readbacks.next;
        self.readbacks.next += 1;
        self.readbacks.pending.insert(
            id,
            Readback {
                staging,
                bytes,
                submission,
                mapped,
            },
        );
        self.check()?;
        Ok(Ticket(id))
    }

    fn failed_readback(&self) -> Error {
        let reported = self.check().err();
        reported.unwrap_or_else(|| {
            Error::device(
                format!("{}: reading a buffer back failed", self.name),
                "update the driver, or use `.device` cpu",
            )
        })
    }
}

fn max_binding_bytes(device: &wgpu::Device, options: &OpenOptions) -> usize {
    let limits = device.limits();
    let device = limits
        .max_storage_buffer_binding_size
        .min(limits.max_buffer_size) as usize;
    // Kernels index with 32 bits, and buffers are whole fours of words.
    let device = device.min(u32::MAX as usize) / 16 * 16;
    options
        .max_binding_bytes
        .map_or(device, |max| max.min(device))
}

/// How many of these steps the next submission holds: no more than have a slot, nor more work than
/// `limit`, but always one.
fn submission(steps: &[Step], limit: f64) -> usize {
    let mut sum = 0.0;
    let fits = |step: &&Step| {
        sum += pace::work(step);
        sum <= limit
    };
    let count = steps.iter().take(RING_SLOTS).take_while(fits).count();
    count.max(1)
}

impl Engine for GpuEngine {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn identity(&self) -> String {
        format!("{}\n{}", self.identity, self.choices.measured())
    }

    fn identity_for(&mut self, recording: &Recording) -> Result<String> {
        let settled = |step: &Step| self.choices.settle(step).is_some();
        if !recording.steps.iter().all(settled) {
            self.run(recording)?;
        }
        Ok(self.identity())
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn is_asynchronous(&self) -> bool {
        true
    }

    fn max_binding_bytes(&self) -> usize {
        max_binding_bytes(&self.device, &self.options)
    }

    fn create(&mut self, label: &str, words: usize) -> Result<Buffer> {
        if 4 * words > self.max_binding_bytes() {
            return Err(Error::too_large(label, words, self.max_binding_bytes()));
        }
        let buffer = self.create_buffer(label, words)?;
        self.buffers.push(Some(buffer));
        self.held.add(words);
        Ok(Buffer {
            id: (self.buffers.len() - 1) as u32,
            words,
        })
    }

    fn release(&mut self, buffer: Buffer) {
        self.bind_groups
            .retain(|(_, ids), _| !ids.contains(&buffer.id));
        self.buffers[buffer.id as usize] = None;
        self.held.sub(buffer.words);
    }

    /// Steps are cut smaller where the device turned out to be slow.
    fn recording(&self) -> Recording {
        Recording::with_max_step_flops(MAX_STEP_FLOPS.min(self.pace.limit() as u64))
    }

    fn write(&mut self, buffer: Buffer, offset: usize, data: &[u32]) -> Result<()> {
        let bytes = bytemuck::cast_slice(data);
        self.queue
            .write_buffer(self.buffer(buffer), 4 * offset as u64, bytes);
        self.unsubmitted_bytes += bytes.len();
        if self.unsubmitted_bytes > MAX_UNSUBMITTED_BYTES {
            self.hand_over(None);
        }
        self.check()
    }

    fn run(&mut self, recording: &Recording) -> Result<()> {
        let mut watch = self.watch.take();
        let run = self.run_steps(recording, false, watch.as_mut());
        self.watch = watch;
        run
    }

    fn fetch(&mut self, buffer: Buffer, words: usize) -> Result<Ticket> {
        let source = self.buffer(buffer).clone();
        self.copy_out(&source, size_of::<u32>() * words)
    }

    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u32>> {
        let Some(readback) = self.readbacks.pending.remove(&ticket.0) else {
            return Err(self.failed_readback());
        };
        let wait = wgpu::PollType::Wait {
            submission_index: Some(readback.submission),
            timeout: None,
        };
        if self.device.poll(wait).is_err() || !matches!(readback.mapped.recv(), Ok(Ok(()))) {
            return Err(self.failed_readback());
        }
        let words = match readback.staging.get_mapped_range(..) {
            Ok(view) => bytemuck::pod_collect_to_vec(&view[..readback.bytes as usize]),
            Err(_) => return Err(self.failed_readback()),
        };
        readback.staging.unmap();
        self.readbacks.idle.push(readback.staging);
        self.check()?;
        Ok(words)
    }

    fn wait(&mut self) -> Result<()> {
        let wait = wgpu::PollType::Wait {
            submission_index: None,
            timeout: None,
        };
        if self.device.poll(wait).is_err() {
            return Err(self.failed_readback());
        }
        self.check()
    }

    fn variant(&self, step: &Step) -> &'static str {
        self.choices.get(step).map_or("", |way| way.variant)
    }

    fn compare(&mut self, step: &Step) -> Result<Vec<Compared>> {
        let candidates = self.choices.candidates(step);
        let Some(first) = candidates.first() else {
            return Ok(Vec::new());
        };
        let expected = self.expect(step, first)?;
        let mut found = Vec::new();
        for way in candidates {
            found.push((way, self.try_out(step, way, &expected)));
        }
        self.restore(step, &expected)?;
        Ok(found)
    }

    fn clock(&self) -> Clock {
        match self.has_timestamps() {
            true => Clock::Device,
            false => Clock::Host,
        }
    }

    fn run_timed(&mut self, recording: &Recording) -> Result<Vec<Timing>> {
        match self.has_timestamps() {
            true => self.time_steps(recording),
            false => engine::run_timed_by_host(self, recording),
        }
    }

    fn watch(&mut self) {
        self.held.restart();
        self.watch = self.has_timestamps().then(Timer::default);
    }

    fn usage(&mut self) -> Result<Usage> {
        let passes = match self.watch.take() {
            Some(timer) => self.read_timer(&timer)?,
            None => Vec::new(),
        };
        Ok(Usage {
            peak_bytes: Some(self.held.peak()),
            idle: engine::idle(&passes),
        })
    }
}
