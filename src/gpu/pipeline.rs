//! Compiles WGSL for a device.

use std::borrow::Cow;

use super::once::OnceEach;
use crate::kernel::Kernel;
use crate::wgsl::locate;

/// A kernel, compiled for a device.
#[derive(Clone)]
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    /// The compiler's message if it refuses the kernel; then the pipeline is not valid.
    pub refused: Option<String>,
}

/// Compiles kernels for a device, from any thread.
pub(super) struct Compiler {
    device: wgpu::Device,
    /// Compile all kernels with run-time checks; see [`OpenOptions`](super::OpenOptions).
    checked: bool,
    /// The driver's own cache, if it offers one.
    pub cache: Option<wgpu::PipelineCache>,
    /// The modules of texts, of which kernels share some: one with run-time checks and one without.
    modules: OnceEach<(usize, bool), wgpu::ShaderModule>,
}

impl Compiler {
    pub fn new(
        device: wgpu::Device,
        checked: bool,
        cache: Option<wgpu::PipelineCache>,
    ) -> Compiler {
        Compiler {
            device,
            checked,
            cache,
            modules: OnceEach::default(),
        }
    }

    /// Compiles `kernel`, with run-time checks if this compiler has them, or if the kernel is not this crate's own.
    pub fn compile(&self, kernel: &'static Kernel) -> Pipeline {
        let name = kernel.name();
        let device = &self.device;
        let checked = self.checked || !kernel.is_trusted();
        // Scopes are of this thread alone.
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let invalid = device.push_error_scope(wgpu::ErrorFilter::Validation);
        // A text's address tells it from all others: texts are kept as long as the program runs.
        let text = std::ptr::from_ref(kernel.text()).addr();
        let module = self
            .modules
            .get((text, checked), || self.module(kernel, checked));
        let entry =
            |binding: u32, ty: wgpu::BufferBindingType, dynamic: bool| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty,
                    has_dynamic_offset: dynamic,
                    min_binding_size: None,
                },
                count: None,
            };
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
        for b in &kernel.reflection().storage {
            let read_only = !b.written;
            let ty = wgpu::BufferBindingType::Storage { read_only };
            entries.push(entry(b.binding, ty, false));
        }
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(&name),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(kernel.entry_point()),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: checked,
                ..Default::default()
            },
            cache: self.cache.as_ref(),
        });
        let [invalid, internal] = [invalid, internal].map(|scope| pollster::block_on(scope.pop()));
        let refused = invalid.or(internal).map(|error| {
            let message = locate(kernel.source(), &error.to_string());
            match kernel.variant() {
                "" => format!("{name}: {message}"),
                variant => format!("{name} [{variant}]: {message}"),
            }
        });
        Pipeline {
            pipeline,
            layout,
            refused,
        }
    }

    fn module(&self, kernel: &'static Kernel, checked: bool) -> wgpu::ShaderModule {
        let source = match kernel.text().parsed() {
            Ok(parsed) => wgpu::ShaderSource::Naga(Cow::Borrowed(&parsed.module)),
            // wgpu says what is wrong with it.
            Err(_) => wgpu::ShaderSource::Wgsl(kernel.source().into()),
        };
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(kernel.op()),
            source,
        };
        if checked {
            return self.device.create_shader_module(descriptor);
        }
        // SAFETY: only this crate makes trusted kernels, so the text comes from shaders/, and its loops
        // end. The kernel computes its indices from the params and from the words of index buffers. The
        // indices stay inside the bound buffers under two conditions. First, the params fit the buffers:
        // only the functions of `ops` can record a trusted kernel, and they make its params for the buffers
        // that they bind. Second, ids, spans and tiles stay inside their tables: `Workspace::upload` checks
        // ids and positions, and batching makes the spans and tiles. The documentation of
        // `OpenOptions::checked` asks a caller who gives ops shapes or index buffers of its own to open the
        // device checked.
        #[allow(unsafe_code)]
        unsafe {
            let unchecked = wgpu::ShaderRuntimeChecks::unchecked();
            self.device
                .create_shader_module_trusted(descriptor, unchecked)
        }
    }
}
