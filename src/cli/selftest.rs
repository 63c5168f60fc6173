//! `gpt2-dpo selftest`.

use std::process::ExitCode;

use gpt2_dpo::{Error, Result};

use super::args::DeviceArgs;
use super::say;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let mut engine = args.device.open()?;
    let name = engine.name();
    if !engine.is_asynchronous() {
        return Err(Error::Device {
            what: "the CPU engine is the twins themselves: there is nothing to compare".into(),
            help: "name a GPU with --device; `gpt2-dpo devices` lists them, software ones too"
                .into(),
        });
    }
    say!("device  {name}\n");
    say!("op           cases  worst relative L2  worst max  verdict");
    let good = gpt2_dpo::selftest::run(engine.as_mut(), args.device.precision, |row| {
        let verdict = if row.misses.is_empty() { "ok" } else { "MISS" };
        say!(
            "{:12} {:5}  {:17.1e}  {:9.1e}  {verdict}",
            row.op,
            row.cases,
            row.worst.relative_l2,
            row.worst.relative_max
        );
        for miss in &row.misses {
            say!("    {miss}");
        }
    })?;
    if good {
        say!("\nevery kernel agrees with its CPU twin on {name}");
        Ok(ExitCode::SUCCESS)
    } else {
        say!("\ndo not trust {name}: use --device cpu, or try with --checked and report this");
        Ok(ExitCode::FAILURE)
    }
}
