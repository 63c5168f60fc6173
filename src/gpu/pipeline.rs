//! Compiles WGSL for a device.

use crate::kernel::Kernel;
use crate::wgsl::locate;

/// A kernel, compiled for a device.
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    /// The compiler's message if it refuses the kernel; then the pipeline is not valid.
    pub refused: Option<String>,
}

impl Pipeline {
    /// Compiles `kernel`, with run-time checks if `checked` says so (see [`OpenOptions`](super::OpenOptions)), or
    /// if the kernel is not this crate's own.
    pub fn new(device: &wgpu::Device, kernel: &'static Kernel, checked: bool) -> Pipeline {
        let name = kernel.name();
        let checked = checked || !kernel.is_trusted();
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&name),
            source: wgpu::ShaderSource::Wgsl(kernel.source().into()),
        };
        let module = if checked {
            device.create_shader_module(descriptor)
        } else {
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
                device.create_shader_module_trusted(descriptor, unchecked)
            }
        };
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
            cache: None,
        });
        let refused = pollster::block_on(scope.pop()).map(|error| {
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
}
