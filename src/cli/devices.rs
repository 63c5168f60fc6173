//! `gpt2-dpo devices`.

use std::process::ExitCode;

use gpt2_dpo::Result;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::device::{self, BackendName};
use gpt2_dpo::engine::Engine;
use gpt2_dpo::gpu::{Adapters, CardMemory};

use super::values::Value;
use super::{noise, say, user, with_flags};

#[derive(clap::Args)]
pub struct Args {
    /// Which graphics API to look in
    #[arg(long, value_parser = BackendName::parser(), default_value_t = BackendName::Auto)]
    backend: BackendName,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let adapters = noise::marked(|| Adapters::enumerate(args.backend.into()));
    for index in 0..adapters.len() {
        let report = adapters.report(index);
        let yes = |has: bool| if has { "yes" } else { "no" };
        say!("{index}: {report}");
        say!("   driver                {}", report.driver);
        say!(
            "   largest binding       {} MiB",
            report.max_binding_bytes >> 20
        );
        say!(
            "   largest buffer        {} MiB",
            report.max_buffer_bytes >> 20
        );
        say!(
            "   workgroup             {} invocations, {} KiB of memory",
            report.max_workgroup_invocations,
            report.max_workgroup_memory_bytes >> 10
        );
        say!(
            "   storage buffers       {} a stage",
            report.max_storage_buffers
        );
        let [least, most] = report.subgroup_sizes;
        say!(
            "   subgroups             {}, size {least} to {most}",
            yes(report.subgroups)
        );
        say!("   f16                   {}", yes(report.f16));
        say!("   timestamps            {}", yes(report.timestamps));
        let shapes = match &report.cooperative_matrix[..] {
            [] => "no".to_owned(),
            shapes => shapes.join(", "),
        };
        say!("   cooperative matrices  {shapes}");
        say!(
            "   --precision mixed     {}",
            yes(report.matrix_units.any())
        );
        if let Some(CardMemory { used, total }) = report.memory {
            say!(
                "   memory                {} of {} MiB held by programs",
                used >> 20,
                total >> 20
            );
        }
        if let Some(missing) = report.unusable {
            say!("   cannot be used        {missing}");
        }
    }
    say!("cpu: {}", CpuEngine::new().name());
    let adapter_name = user::adapter_name();
    match noise::marked(|| device::auto(args.backend, &adapters, adapter_name.as_deref())) {
        Ok(Some(index)) => say!("`--device auto` takes {index}: {}", adapters.report(index)),
        Ok(None) => {
            say!("`--device auto` takes cpu: no discrete or integrated GPU found");
            for passed_over in noise::marked(|| adapters.passed_over()) {
                say!("{}", with_flags(&passed_over.to_string()));
            }
        }
        Err(e) => say!("`--device auto` takes none: {}", with_flags(&e.to_string())),
    }
    Ok(ExitCode::SUCCESS)
}
