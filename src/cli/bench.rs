//! `gpt2-dpo bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use gpt2_dpo::Result;
use gpt2_dpo::bench::{self, Options, Report};
use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::storage::check_writable;

use super::args::DeviceArgs;
use super::progress::Progress;
use super::{say, table, write_json};

#[derive(clap::Args)]
pub struct Args {
    /// gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2, small (4 layers, 256 wide), or a directory of
    /// whose files only config.json is read
    #[arg(long, value_name = "NAME|DIR", default_value = "gpt2")]
    model: String,
    /// Pairs of a micro-batch
    #[arg(long, default_value_t = TrainConfig::default().batch_size)]
    batch_size: usize,
    /// Micro-batches of an optimizer step
    #[arg(long, default_value_t = TrainConfig::default().gradient_accumulation_steps)]
    gradient_accumulation_steps: usize,
    /// Tokens of every prompt
    #[arg(long, default_value_t = TrainConfig::default().max_prompt_tokens)]
    max_prompt_tokens: usize,
    /// Tokens of every response
    #[arg(long, default_value_t = TrainConfig::default().max_response_tokens)]
    max_response_tokens: usize,
    /// Optimizer steps to time; fewer, but one, if they would take longer than a minute
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// How long each kernel is run, at least five times
    #[arg(long, value_name = "SECONDS", default_value_t = 0.3)]
    seconds_per_kernel: f64,
    /// Write everything measured as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let options = Options {
        model: args.model,
        batch_size: args.batch_size,
        gradient_accumulation_steps: args.gradient_accumulation_steps,
        max_prompt_tokens: args.max_prompt_tokens,
        max_response_tokens: args.max_response_tokens,
        steps: args.steps,
        seconds_per_kernel: args.seconds_per_kernel,
    };
    args.json.as_deref().map_or(Ok(()), check_writable)?;
    let mut engine = args.device.open()?;
    let mut progress = Progress::default();
    let report = bench::run(engine.as_mut(), &options, &mut |at| {
        progress.at(at.phase, at.done, at.total, at.what);
    });
    progress.clear();
    let report = report?;
    print(&report);
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    match report.wrong().count() {
        0 => Ok(ExitCode::SUCCESS),
        count => {
            say!(
                "\n{count} kernels compute something else than their twins: do not trust {}; \
                 `gpt2-dpo selftest` tells more",
                report.device
            );
            Ok(ExitCode::FAILURE)
        }
    }
}

fn print(report: &Report) {
    let Report { options, dims, .. } = report;
    say!("device  {}", report.device);
    if let Some(driver) = report
        .identity
        .strip_prefix(&format!("{}, ", report.device))
    {
        say!("driver  {driver}");
    }
    say!("clock   {}", report.clock);
    say!(
        "model   {}: {} layers, {} wide, {} heads, vocabulary {}",
        options.model,
        dims.n_layer,
        dims.n_embd,
        dims.n_head,
        dims.vocab_size
    );
    say!(
        "step    {} micro-batches of {} pairs, {} + {} + {} tokens each",
        options.gradient_accumulation_steps,
        options.batch_size,
        options.max_prompt_tokens,
        options.max_response_tokens,
        options.max_response_tokens
    );
    say!("\nceilings");
    table::ceilings(&report.ceilings);
    say!("\nkernels of a step");
    table::kernels(&report.kernels, "median");

    let step = &report.step;
    say!("\nwhole steps, {} timed", step.steps);
    say!("time               {}", table::seconds(step.seconds));
    say!("pairs/s            {:.3}", step.pairs_per_second);
    say!("tokens/s           {:.0}", step.tokens_per_second);
    say!(
        "GFLOP/s            {:.1}, {:.0} % of the ceiling",
        1e-9 * step.flops_per_second,
        100.0 * step.flops_per_second / report.ceilings.compute.per_second
    );
    if let Some(bytes) = step.peak_bytes {
        say!("device memory      {} MiB at most", bytes >> 20);
    }
    match step.idle {
        Some(idle) => say!("device idle        {:.1} %", 100.0 * idle),
        None => say!("device idle        not measured: it has no timestamps"),
    }
}
