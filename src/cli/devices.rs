//! `gpt2-dpo devices`.

use std::process::ExitCode;

use gpt2_dpo::Result;
use gpt2_dpo::config::BackendName;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::Engine;
use gpt2_dpo::gpu::Adapters;

#[derive(clap::Args)]
pub struct Args {
    /// Which graphics API to look in
    #[arg(long, value_enum, default_value_t = BackendName::Auto)]
    backend: BackendName,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let adapters = Adapters::enumerate(args.backend.into());
    for index in 0..adapters.len() {
        let report = adapters.report(index);
        let yes = |has: bool| if has { "yes" } else { "no" };
        println!("{index}: {report}");
        println!("   driver                {}", report.driver);
        println!(
            "   largest binding       {} MiB",
            report.max_binding_bytes >> 20
        );
        println!(
            "   largest buffer        {} MiB",
            report.max_buffer_bytes >> 20
        );
        println!(
            "   workgroup             {} invocations, {} KiB of memory",
            report.max_workgroup_invocations,
            report.max_workgroup_memory_bytes >> 10
        );
        println!(
            "   storage buffers       {} a stage",
            report.max_storage_buffers
        );
        let [least, most] = report.subgroup_sizes;
        println!(
            "   subgroups             {}, size {least} to {most}",
            yes(report.subgroups)
        );
        println!("   f16                   {}", yes(report.f16));
        println!("   timestamps            {}", yes(report.timestamps));
        println!(
            "   cooperative matrices  {}",
            yes(report.cooperative_matrix)
        );
        if let Some(missing) = report.unusable {
            println!("   cannot be used        {missing}");
        }
    }
    println!("cpu: {}", CpuEngine::new().name());
    match adapters.best_gpu() {
        Some(index) => println!("`--device auto` takes {index}: {}", adapters.report(index)),
        None => println!(
            "`--device auto` takes cpu: no GPU found (software Vulkan is slower than the CPU \
             engine and is taken only by name)"
        ),
    }
    Ok(ExitCode::SUCCESS)
}
