//! `gpt2-dpo selftest`.

use std::path::PathBuf;
use std::process::ExitCode;

use gpt2_dpo::device::Found;
use gpt2_dpo::selftest::{self, Check, Report, Subject};
use gpt2_dpo::storage::check_writable;
use gpt2_dpo::target::Precision;
use gpt2_dpo::{Error, Result};

use super::args::DeviceArgs;
use super::{noise, say, with_flags, write_json};

#[derive(clap::Args)]
pub struct Args {
    /// Whose shapes to try, and whether it fits: gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2, small
    /// (4 layers, 256 wide), or a directory of whose files only config.json is read
    #[arg(long, value_name = "NAME|DIR", default_value = "gpt2")]
    model: String,
    /// Write everything found as JSON, to be sent along with a report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let (adapters, index, options) = match noise::marked(|| args.device.choice().find())? {
        Found::Gpu {
            adapters,
            index,
            options,
        } => (adapters, index, options),
        Found::Cpu { notes } => {
            let nothing = "the CPU engine is the twins themselves: there is nothing to compare";
            let what: Vec<&str> = std::iter::once(nothing)
                .chain(notes.iter().skip(1).map(String::as_str)) // the first says that it is used
                .collect();
            return Err(Error::Device {
                what: what.join("\n"),
                help: "name a GPU with --device; `gpt2-dpo devices` lists them, software ones too"
                    .into(),
            });
        }
    };
    let subject = Subject {
        adapter: adapters.report(index),
        open: &|options| noise::marked(|| adapters.open(index, options)),
        options,
    };
    args.json.as_deref().map_or(Ok(()), check_writable)?;
    say!("device  {}", subject.adapter);
    say!("driver  {}\n", subject.adapter.driver);
    let mut report = selftest::run(&subject, &args.model, &mut show)?;
    for check in &mut report.checks {
        check.found = with_flags(&check.found);
        check
            .misses
            .iter_mut()
            .for_each(|miss| *miss = with_flags(miss));
    }
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    conclude(&report);
    let trusted = match args.device.precision {
        Precision::F32 => report.is_trusted(),
        Precision::Mixed => report.is_trusted_mixed() == Some(true),
    };
    match trusted && report.fits() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

/// Prints one line for a check, and one for each of its first misses.
fn show(check: &Check) {
    const SHOWN: usize = 5;
    let verdict = match check.misses.len() {
        0 => "ok  ",
        _ => "MISS",
    };
    say!("{verdict}  {:20}  {}", check.name, with_flags(&check.found));
    for miss in check.misses.iter().take(SHOWN) {
        say!("      {}", with_flags(miss));
    }
    if check.misses.len() > SHOWN {
        say!("      and {} more", check.misses.len() - SHOWN);
    }
}

fn conclude(report: &Report) {
    let Report {
        adapter,
        version,
        platform,
        ..
    } = report;
    let who = format!(
        "{adapter}, driver {}, gpt2-dpo {version}, {platform}",
        adapter.driver
    );
    let mixed = match report.is_trusted_mixed() {
        Some(true) => "; --precision mixed too",
        Some(false) => ", but not with --precision mixed",
        None => "; it has no matrix units for --precision mixed",
    };
    let room = match report.fits() {
        true => String::new(),
        false => format!("; {} does not fit it", report.model),
    };
    match report.is_trusted() {
        true => say!("\ntrust this device{mixed}{room}: {who}"),
        false => say!(
            "\ndo NOT trust this device: use --device cpu, or see whether --checked helps. To report \
             it, send what `selftest --json FILE` writes, and this: {who}"
        ),
    }
}
