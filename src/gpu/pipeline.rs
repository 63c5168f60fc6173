//! From WGSL to what a device runs.

use crate::kernel::Kernel;

/// A kernel as a device runs it.
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

impl Pipeline {
    /// `checked` as in [`OpenOptions`](super::OpenOptions). What the driver refuses, the device's error
    /// callback tells.
    pub fn new(device: &wgpu::Device, kernel: &'static Kernel, checked: bool) -> Pipeline {
        let name = kernel.name();
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(kernel.op),
            source: wgpu::ShaderSource::Wgsl(kernel.source.into()),
        };
        let module = if checked {
            device.create_shader_module(descriptor)
        } else {
            // SAFETY: the shaders are this program's own; their loops end, and every index stays in the
            // buffers that a recording binds as long as sizes fit (the ops make both from the same
            // numbers) and ids and positions are in their tables (`Workspace::upload` checks).
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
            entry_point: Some(kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: checked,
                ..Default::default()
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }
}
