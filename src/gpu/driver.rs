//! The wgpu side of a GPU: buffers, pipelines, submissions, copies to the host.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::pace::{self, Pace};
use super::pipeline::Pipeline;
use super::pipelines::Pipelines;
use super::readback::{MOST_IDLE, Readback, Readbacks};
use super::timer::{Timer, timings};
use crate::buffer::Buffer;
use crate::engine::{Tally, Ticket, Timing};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, PARTIALS};
use crate::recording::{MAX_PARAMS, Step};

/// The most steps of one submission. Each has a slot in the params ring.
const RING_SLOTS: usize = 1024;

/// The most submissions under way. Each keeps the host's copies of the words written for it.
const MAX_IN_FLIGHT: usize = 64;

/// After this many bytes of writes the driver submits them, so that the upload of a model does not keep a second
/// copy of the whole model on the host.
const MAX_UNSUBMITTED_BYTES: usize = 64 << 20;

/// A host that compiles for longer than this looks late.
const BUSY: Duration = Duration::from_millis(1);

/// After a write of more bytes than this the next steps wait for the copy.
const MUCH_DATA: usize = 1 << 20;

/// The bytes of a copy, by which a device of which nothing is known is tried, how long the copies have to take to tell
/// anything, and the most of them.
const COPIED_BYTES: usize = 16 << 20;
const COPYING_SECONDS: f64 = 5e-3;
const MAX_COPIES: u64 = 1 << 12;

/// The longest wait for the news that a failed call failed because the device is lost.
const LOSS_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of partial sums: a variant that needs more for a step does not run.
pub(super) const MAX_PARTIALS: usize = 64 << 20;

/// The most bytes of uniform params of one step. WebGPU allows a device no larger alignment.
const MAX_SLOT_BYTES: usize = 256;

/// The most bytes of the buffers that only the engine knows: params, idle staging buffers, partial sums.
pub(super) const OWN_BYTES: usize = RING_SLOTS * MAX_SLOT_BYTES + MOST_IDLE as usize + MAX_PARTIALS;

/// A step, and the chosen variant of its kernel.
#[derive(Clone, Copy)]
pub(super) struct Chosen {
    pub step: Step,
    pub kernel: &'static Kernel,
}

/// A GPU without choices: it runs the variants that it is given.
pub(super) struct Driver {
    pub name: String,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub max_binding_bytes: usize,
    buffers: Vec<Option<wgpu::Buffer>>,
    pub tally: Tally,
    pub compiled: Pipelines,
    /// Those of `compiled` that ran.
    pipelines: HashMap<*const Kernel, Pipeline>,
    bind_groups: HashMap<BindGroupKey, wgpu::BindGroup>,
    /// The uniform params of a submission's steps, one aligned slot a step.
    ring: wgpu::Buffer,
    slot_bytes: usize,
    /// The partial sums that the first pass of a split-K product leaves for the second pass.
    partials: Option<wgpu::Buffer>,
    readbacks: Readbacks,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    pace: Pace,
    /// The times, in seconds since `opened`, at which the host saw submissions of steps finished.
    finished: (Sender<f64>, Receiver<f64>),
    opened: Instant,
    unsubmitted_bytes: usize,
    failure: Arc<Mutex<Option<Failure>>>,
}

/// A kernel, and the ranges that a step binds for it.
type BindGroupKey = (*const Kernel, [Buffer; Step::MAX_BUFFERS]);

/// A failure that the driver reported.
enum Failure {
    OutOfMemory(String),
    /// A call was not valid, or the driver failed at it.
    Refused(String),
    Lost(String),
}

impl From<wgpu::Error> for Failure {
    fn from(error: wgpu::Error) -> Failure {
        match error {
            wgpu::Error::OutOfMemory { .. } => Failure::OutOfMemory(error.to_string()),
            wgpu::Error::Validation { .. } | wgpu::Error::Internal { .. } => {
                Failure::Refused(error.to_string())
            }
        }
    }
}

impl Driver {
    pub fn new(
        name: String,
        device: wgpu::Device,
        queue: wgpu::Queue,
        compiled: Pipelines,
        max_binding_bytes: Option<usize>,
        pace: Pace,
    ) -> Driver {
        let failure = Arc::new(Mutex::new(None));
        let keep_first = |failure: &Arc<Mutex<Option<Failure>>>| {
            let failure = Arc::clone(failure);
            move |what: Failure| {
                if let Ok(mut first) = failure.lock() {
                    match what {
                        // What fails afterwards fails because of it, and what failed before may be its first sign.
                        Failure::Lost(_) => *first = Some(what),
                        _ => drop(first.get_or_insert(what)),
                    }
                }
            }
        };
        let on_error = keep_first(&failure);
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| on_error(e.into())));
        let on_loss = keep_first(&failure);
        // This program destroys no device while it uses it, so that any reason is a loss.
        device.set_device_lost_callback(move |reason, message| {
            on_loss(Failure::Lost(format!("{reason:?}: {message}")));
        });
        let limits = device.limits();
        let slot_bytes =
            MAX_PARAMS.next_multiple_of(limits.min_uniform_buffer_offset_alignment as usize);
        let ring = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("params"),
            size: (RING_SLOTS * slot_bytes) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        // Kernels index with 32 bits, and a buffer is a whole number of vec4s.
        let bound = limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size)
            .min(u32::MAX.into()) as usize
            / 16
            * 16;
        Driver {
            name,
            device,
            queue,
            max_binding_bytes: max_binding_bytes.map_or(bound, |max| max.min(bound)),
            buffers: Vec::new(),
            tally: Tally::default(),
            compiled,
            pipelines: HashMap::new(),
            bind_groups: HashMap::new(),
            ring,
            slot_bytes,
            partials: None,
            readbacks: Readbacks::default(),
            in_flight: VecDeque::new(),
            pace,
            finished: channel(),
            opened: Instant::now(),
            unsubmitted_bytes: 0,
            failure,
        }
    }

    /// The first failure that the driver reported since the last call, as an error. A lost device stays lost.
    pub fn check(&self) -> Result<()> {
        let has_failed = self.failure.lock().is_ok_and(|failure| failure.is_some());
        if has_failed {
            // A call may fail because the device is lost. wgpu tells that when the work under way has ended.
            let _ = self.device.poll(wgpu::PollType::Wait {
                submission_index: None,
                timeout: Some(LOSS_TIMEOUT),
            });
        }
        let failure = match self.failure.lock() {
            Ok(mut failure) => match &*failure {
                Some(Failure::Lost(message)) => Some(Failure::Lost(message.clone())),
                _ => failure.take(),
            },
            Err(_) => Some(Failure::Refused("the error handler panicked".into())),
        };
        let what = |message: &str| format!("{}: {message}", self.name);
        match failure {
            None => Ok(()),
            Some(Failure::OutOfMemory(message)) => {
                Err(Error::out_of_memory(what(&message), self.tally.now() / 4))
            }
            Some(Failure::Refused(message)) => Err(Error::Refused {
                what: what(&message),
            }),
            Some(Failure::Lost(message)) => Err(Error::Lost {
                what: what(&format!("device lost: {message}")),
            }),
        }
    }

    pub fn has_timestamps(&self) -> bool {
        let features = self.device.features();
        features.contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// The most work of a submission, if this run has measured it.
    pub fn measured_pace(&self) -> Option<f64> {
        self.pace.measured()
    }

    /// The most work that the next submission should hold.
    pub fn pace_limit(&self) -> f64 {
        self.pace.limit()
    }

    /// # Panics
    /// If the buffer was released: a mistake of the caller.
    fn buffer(&self, buffer: Buffer) -> &wgpu::Buffer {
        let slot = self.buffers.get(buffer.id as usize);
        slot.and_then(Option::as_ref)
            .expect("the buffer was released")
    }

    pub fn create(&mut self, label: &str, words: usize) -> Result<Buffer> {
        if 4 * words > self.max_binding_bytes {
            return Err(Error::too_large(label, words, self.max_binding_bytes));
        }
        let buffer = self.create_buffer(label, words)?;
        // As the driver has it: a whole number of vec4s, which `release` gives back.
        self.tally.add(words_of(&buffer));
        self.buffers.push(Some(buffer));
        Ok(Buffer::whole((self.buffers.len() - 1) as u32, words))
    }

    pub fn release(&mut self, buffer: Buffer) {
        let holds = |bound: &[Buffer; Step::MAX_BUFFERS]| bound.iter().any(|b| b.id == buffer.id);
        self.bind_groups.retain(|(_, bound), _| !holds(bound));
        if let Some(freed) = self.buffers[buffer.id as usize].take() {
            self.tally.sub(words_of(&freed));
        }
    }

    pub fn write(&mut self, buffer: Buffer, words: &[u32]) -> Result<()> {
        let bytes = bytemuck::cast_slice(words);
        let offset = 4 * buffer.offset as u64;
        self.queue.write_buffer(self.buffer(buffer), offset, bytes);
        self.unsubmitted_bytes += bytes.len();
        if bytes.len() > MUCH_DATA {
            self.pace.disturbed();
        }
        if self.unsubmitted_bytes > MAX_UNSUBMITTED_BYTES {
            self.hand_over(None);
        }
        self.check()
    }

    fn bind_group_key(step: &Step, kernel: &'static Kernel) -> BindGroupKey {
        let mut bound = [Buffer::whole(u32::MAX, 0); Step::MAX_BUFFERS];
        bound[..step.buffers().len()].copy_from_slice(step.buffers());
        (kernel, bound)
    }

    /// Makes the pipeline and the bind group for a pass of a step, unless they exist.
    fn prepare(&mut self, step: &Step, kernel: &'static Kernel) {
        if !self.pipelines.contains_key(&(kernel as *const Kernel)) {
            let began = Instant::now();
            let pipeline = self.compiled.get(kernel);
            if began.elapsed() > BUSY {
                self.pace.disturbed();
            }
            if let (Some(message), Ok(mut first)) = (&pipeline.refused, self.failure.lock()) {
                first.get_or_insert_with(|| Failure::Refused(message.clone()));
            }
            self.pipelines.insert(kernel, pipeline);
        }
        let key = Self::bind_group_key(step, kernel);
        if self.bind_groups.contains_key(&key) {
            return;
        }
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: range(&self.ring, 0, MAX_PARAMS),
        }];
        let bindings = &kernel.reflection().storage;
        for (binding, place) in bindings.iter().zip(bound(step, kernel)) {
            let resource = match place {
                Some(i) => {
                    let buffer = step.buffers()[i];
                    // Kernels may read vec4s, so the binding goes to the end of the last word's vec4.
                    let bytes = buffer.bytes().next_multiple_of(16);
                    range(self.buffer(buffer), 4 * buffer.offset, bytes)
                }
                None => self
                    .partials
                    .as_ref()
                    .expect("made before")
                    .as_entire_binding(),
            };
            entries.push(wgpu::BindGroupEntry {
                binding: binding.binding,
                resource,
            });
        }
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&kernel.name()),
            layout: &self.pipelines[&(kernel as *const Kernel)].layout,
            entries: &entries,
        });
        self.bind_groups.insert(key, group);
    }

    /// Makes room for `words` words of partial sums.
    pub fn reserve_partials(&mut self, words: usize) -> Result<()> {
        let had = self.partials.as_ref().map_or(0, words_of);
        if had < words {
            let buffer = self.create_buffer("partial results", words)?;
            self.tally.add(words_of(&buffer));
            self.tally.sub(had);
            self.partials = Some(buffer);
            // Bind groups may hold the buffer that was too small.
            self.bind_groups.clear();
        }
        Ok(())
    }

    /// Frees the partial sums. Who needs them makes them again.
    pub fn free_partials(&mut self) {
        if let Some(freed) = self.partials.take() {
            self.tally.sub(words_of(&freed));
            self.bind_groups.clear(); // some hold it
        }
    }

    /// Frees the staging buffers of copies that are done.
    pub fn free_idle(&mut self) {
        self.readbacks.free_idle();
    }

    /// The bytes of all buffers, with those that only the engine knows.
    pub fn held_bytes(&self) -> usize {
        self.tally.now() + self.ring.size() as usize + self.readbacks.bytes() as usize
    }

    fn create_buffer(&self, label: &str, words: usize) -> Result<wgpu::Buffer> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            // Kernels may read vec4s, so the last vec4 is whole.
            size: (4 * words as u64).next_multiple_of(16),
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        match pollster::block_on(scope.pop()) {
            None => Ok(buffer),
            Some(e) => Err(Error::out_of_memory(
                format!(
                    "{}: no memory for {label} ({} MiB): {e}",
                    self.name,
                    (4 * words) >> 20
                ),
                words,
            )),
        }
    }

    /// Submits these steps, with `pass_steps` steps in each compute pass. `timer` gets the times of the passes.
    pub fn submit(
        &mut self,
        steps: &[Chosen],
        pass_steps: usize,
        mut timer: Option<&mut Timer>,
    ) -> Result<()> {
        let mut params = vec![0; steps.len() * self.slot_bytes];
        for (chosen, slot) in steps.iter().zip(params.chunks_mut(self.slot_bytes)) {
            let step = &chosen.step;
            slot[..step.params().len()].copy_from_slice(step.params());
            self.reserve_partials(partials(step, chosen.kernel))?;
        }
        for chosen in steps {
            for pass in chosen.kernel.passes() {
                self.prepare(&chosen.step, pass);
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
            for &(i, Chosen { step, kernel }) in steps {
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
        let work = steps.iter().map(|chosen| pace::work(&chosen.step)).sum();
        self.pace
            .submitted(self.opened.elapsed().as_secs_f64(), work);
        self.hand_over(Some(encoder.finish()));
        let (finished, opened) = (self.finished.0.clone(), self.opened);
        self.queue.on_submitted_work_done(move || {
            // Sending fails only if the engine was dropped.
            let _ = finished.send(opened.elapsed().as_secs_f64());
        });
        self.check()
    }

    /// The number of these steps, at least one, that the device can begin while it compiles kernels of the others.
    pub fn ready(&self, steps: &[Chosen]) -> usize {
        let is_ready = |kernel: &'static Kernel| {
            self.pipelines.contains_key(&std::ptr::from_ref(kernel))
                || self.compiled.is_ready(kernel)
        };
        let ready = |chosen: &&Chosen| chosen.kernel.passes().all(is_ready);
        steps.iter().take_while(ready).count().max(1)
    }

    /// Leaves the device to others after the submission that began at `began`, if the pace is gentle: it waits for the
    /// submission's end, and then for as long as that took.
    pub fn rest(&mut self, began: Instant) -> Result<()> {
        if !self.pace.rests() {
            return Ok(());
        }
        self.wait()?;
        self.note_finished();
        std::thread::sleep(began.elapsed());
        Ok(())
    }

    /// Tells the pace which submissions finished; submissions that one look shows finished count together.
    pub fn note_finished(&mut self) {
        let seen: Vec<f64> = self.finished.1.try_iter().collect();
        if let Some(&latest) = seen.last() {
            self.pace.finished(latest, seen.len());
        }
    }

    /// Submits writes and `commands`. It first waits for the oldest submission if too many are under way.
    pub fn hand_over(&mut self, commands: Option<wgpu::CommandBuffer>) -> wgpu::SubmissionIndex {
        if self.in_flight.len() == MAX_IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            // A device that fails here reports the failure through its callbacks.
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

    /// Asks for a copy of a range of a buffer.
    pub fn fetch(&mut self, buffer: Buffer) -> Result<Ticket> {
        let source = self.buffer(buffer).clone();
        self.copy_out(&source, 4 * buffer.offset as u64, buffer.bytes() as u64)
    }

    /// Asks for a copy of `bytes` bytes, from byte `offset` on, of any buffer of the device.
    pub fn copy_out(&mut self, source: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Ticket> {
        let staging = self.readbacks.staging(&self.device, bytes);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(source, offset, &staging, 0, bytes);
        let submission = self.hand_over(Some(encoder.finish()));
        let (sender, mapped) = channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // Sending fails only if the engine was dropped.
            let _ = sender.send(result);
        });
        let ticket = self.readbacks.add(Readback {
            staging,
            bytes,
            submission,
            mapped,
        });
        self.check()?;
        Ok(ticket)
    }

    /// Waits for a copy.
    pub fn collect(&mut self, ticket: Ticket) -> Result<Vec<u32>> {
        let Some(readback) = self.readbacks.take(&ticket) else {
            return Err(self.failed("no such copy was asked for"));
        };
        let wait = wgpu::PollType::Wait {
            submission_index: Some(readback.submission.clone()),
            timeout: None,
        };
        if self.device.poll(wait).is_err() {
            return Err(self.failed("waiting for a copy failed"));
        }
        let Some(words) = readback.words() else {
            return Err(self.failed("reading a buffer back failed"));
        };
        self.readbacks.reuse(readback);
        self.check()?;
        Ok(words)
    }

    /// Waits for the passes of a timer and reads when they ran.
    pub fn read_timer(&mut self, timer: &Timer) -> Result<Vec<Timing>> {
        if timer.is_empty() {
            return Ok(Vec::new());
        }
        let (resolved, commands) = timer.resolve(&self.device);
        self.hand_over(Some(commands));
        let ticket = self.copy_out(&resolved, 0, resolved.size())?;
        let words = self.collect(ticket)?;
        let seconds_a_tick = f64::from(self.queue.get_timestamp_period()) * 1e-9;
        Ok(timings(&words, seconds_a_tick))
    }

    /// Undoes what lowered the pace since its limit was `limit`, because it was no work of recordings.
    pub fn pace_back_to(&mut self, limit: f64) {
        self.note_finished();
        self.pace.back_to(limit);
    }

    /// Leaves the device to others half of the time from now on.
    pub fn be_gentle(&mut self) {
        self.pace.be_gentle();
    }

    /// Raises the pace, before anything is known of the device, to what its rate of copies lets expect. Without an
    /// answer the pace stays as it is.
    pub fn learn_from_copies(&mut self, kind: wgpu::DeviceType) {
        if let Ok(Some(rate)) = self.copy_rate() {
            self.pace = std::mem::replace(&mut self.pace, Pace::of(kind)).with_copies(rate, kind);
        }
    }

    /// The bytes a second that the device reads and writes while it copies; `None` if it has no memory for a try.
    pub fn copy_rate(&mut self) -> Result<Option<f64>> {
        let words = COPIED_BYTES.min(self.max_binding_bytes) / size_of::<u32>();
        let made = [(); 2].map(|()| self.create_buffer("copies", words));
        let [Ok(from), Ok(to)] = made else {
            return Ok(None);
        };
        let bytes = from.size();
        let (mut copies, mut seconds) = (1, 0.0);
        while seconds < COPYING_SECONDS && copies <= MAX_COPIES {
            self.wait()?;
            let mut encoder = self.device.create_command_encoder(&Default::default());
            for _ in 0..copies {
                encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes);
            }
            let began = Instant::now();
            self.hand_over(Some(encoder.finish()));
            self.wait()?;
            seconds = began.elapsed().as_secs_f64();
            copies *= 2;
        }
        Ok(Some((copies * bytes) as f64 / seconds)) // the last try had half as many, each of which reads and writes
    }

    /// Waits until the device is idle.
    pub fn wait(&mut self) -> Result<()> {
        let wait = wgpu::PollType::Wait {
            submission_index: None,
            timeout: None,
        };
        if self.device.poll(wait).is_err() {
            return Err(self.failed("waiting for the device failed"));
        }
        self.check()
    }

    /// The failure that the driver reported; if it reported none, an error that says `what`.
    fn failed(&self, what: &str) -> Error {
        let reported = self.check().err();
        reported.unwrap_or_else(|| Error::Lost {
            what: format!("{}: {what}", self.name),
        })
    }
}

fn words_of(buffer: &wgpu::Buffer) -> usize {
    buffer.size() as usize / size_of::<u32>()
}

fn range(buffer: &wgpu::Buffer, offset: usize, bytes: usize) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer,
        offset: offset as u64,
        size: wgpu::BufferSize::new(bytes as u64),
    })
}

/// The number of these steps in the next submission: as many as have slots in the params ring and hold at most
/// `limit` work, but always one step.
pub(super) fn submission(steps: &[Step], limit: f64) -> usize {
    let mut sum = 0.0;
    let fits = |step: &&Step| {
        sum += pace::work(step);
        sum <= limit
    };
    let count = steps.iter().take(RING_SLOTS).take_while(fits).count();
    count.max(1)
}

/// The most words that a split-K variant needs for its partial sums; 0 for every other variant.
pub(super) fn partials(step: &Step, variant: &Kernel) -> usize {
    if variant.finish.is_none() {
        return 0;
    }
    let written = step.kernel.reflection().storage.iter().zip(step.buffers());
    let result = written.filter(|(b, _)| b.written).map(|(_, b)| b.words);
    variant.splits() as usize * result.max().unwrap_or(0)
}

/// The buffers that a variant binds, in the order of its binding numbers: an index into the step's
/// buffers, or `None` for the engine's own buffer of partial sums. A variant names its buffers as the step's
/// kernel does.
fn bound(step: &Step, variant: &Kernel) -> Vec<Option<usize>> {
    let names = &step.kernel.reflection().storage;
    let place = |name: &str| names.iter().position(|b| b.name == name);
    let storage = variant.reflection().storage.iter();
    storage
        .map(|b| match &b.name[..] {
            PARTIALS => None,
            name => Some(place(name).unwrap_or_else(|| panic!("{}: `{name}`", variant.name()))),
        })
        .collect()
}
