//! `gpt2-dpo bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use gpt2_dpo::Result;
use gpt2_dpo::bench::{self, Options, Plan, Report};
use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::launches::BUSY_GROUPS;
use gpt2_dpo::model::Dims;
use gpt2_dpo::storage::check_writable;

use super::args::{self, DeviceArgs};
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
    /// Only list the dispatches of a step on a large GPU, for which none is needed
    #[arg(long, conflicts_with_all = [
        "device", "backend", "checked", "max_binding_mib", "no_autotune", "gentle", "steps", "seconds_per_kernel",
    ])]
    plan: bool,
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
    if args.plan {
        let plan = Plan::new(&options, args.device.precision)?;
        show(&plan);
        if let Some(path) = &args.json {
            write_json(path, &plan)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut engine = args::open(&args.device.growing())?;
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

fn show(plan: &Plan) {
    let (options, audit) = (&plan.options, &plan.audit);
    sizes(&options.model, &plan.dims);
    step(options, plan.micro_batches);
    say!(
        "\n{:31} {:9} {:15} {:>10} {:>10} {:>8} {:>8}",
        "kernel",
        "variant",
        "shape",
        "dispatches",
        "workgroups",
        "share",
        "executed"
    );
    let all: u64 = plan.launches.iter().map(|launch| launch.flops).sum();
    for launch in &plan.launches {
        let sizes: Vec<String> = launch.sizes.iter().map(u32::to_string).collect();
        say!(
            "{:31} {:9} {:15} {:10} {:10} {:6.2} % {:>8}",
            launch.kernel,
            launch.variant,
            sizes.join(" × "),
            launch.dispatches,
            launch.groups,
            100.0 * launch.flops as f64 / all as f64,
            match launch.flops {
                0 => String::new(),
                flops => format!("{:.3} ×", launch.executed as f64 / flops as f64),
            }
        );
    }
    say!(
        "\n{} dispatches; {:.1} % of the operations in dispatches of at least {BUSY_GROUPS} workgroups; products compute \
         {:.3} × what is asked for, in whole tiles",
        audit.dispatches,
        100.0 * audit.busy,
        audit.executed
    );
}

fn sizes(model: &str, dims: &Dims) {
    say!(
        "model   {model}: {} layers, {} wide, {} heads, vocabulary {}",
        dims.n_layer,
        dims.n_embd,
        dims.n_head,
        dims.vocab_size
    );
}

fn step(options: &Options, micro_batches: usize) {
    let pairs = options.batch_size * options.gradient_accumulation_steps;
    say!(
        "step    {micro_batches} micro-batches of {} pairs, {} + {} + {} tokens each",
        pairs / micro_batches,
        options.max_prompt_tokens,
        options.max_response_tokens,
        options.max_response_tokens
    );
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
    sizes(&options.model, dims);
    step(options, report.step.micro_batches);
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
