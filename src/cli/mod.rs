//! The command line: each command has its own file.

mod adapted;
mod args;
mod bench;
mod devices;
mod doctor;
mod eval;
mod fetch;
mod flags;
mod generate;
mod inspect;
mod merge;
mod noise;
mod options;
mod pairs;
mod plan;
mod progress;
mod recorded;
mod resume;
mod samples;
mod selftest;
mod signals;
mod starter;
mod table;
mod train;
mod trained;
mod user;
mod values;

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::{Result, guard, storage};
use serde::Serialize;

pub use flags::with_flags;

/// Prints a line on standard output. A reader that has seen enough (`| head`) does not end a run.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}
use say;

/// Prints a line on standard error. A terminal that is gone does not end a run.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use tell;

/// Fine-tunes GPT-2 with Direct Preference Optimization on whatever GPU there is.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train on preference pairs; with no options, the built-in starter on its own pairs
    Train(Box<train::Args>),
    /// Score held-out pairs under a model and its reference
    Eval(Box<eval::Args>),
    /// Say what the curves of a run mean, from its metrics
    Doctor(doctor::Args),
    /// Look at data as training would see it, and say what is wrong with it
    Inspect(Box<inspect::Args>),
    /// Continue a prompt
    Generate(generate::Args),
    /// Write a whole model: a base with an adapter in its weights
    Merge(merge::Args),
    /// List every adapter and what `auto` takes
    Devices(devices::Args),
    /// Check every kernel against its CPU twin on a device
    Selftest(selftest::Args),
    /// Measure a device: its ceilings, every kernel at a model's shapes, an optimizer step
    Bench(bench::Args),
}

/// Says of a panic that it is a bug, and what to send. The process then ends with exit status 101. A run's checkpoints
/// are whole at each instant, so it can go on.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if guard::is_guarded() {
            return;
        }
        tell!("{}", bug(panic));
        let backtrace = std::backtrace::Backtrace::capture();
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            tell!("{backtrace}");
        }
    }));
}

fn bug(panic: &dyn std::fmt::Display) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let command: Vec<_> = std::env::args_os().skip(1).collect();
    format!(
        "error: this is a bug in gpt2-dpo {version} ({os}, {arch}): {panic}\n  help: please report it with this text and \
         the command, {command:?}; RUST_BACKTRACE=1 shows where it came from. A run goes on with `train --resume` and its \
         folder"
    )
}

/// Runs the command line of this process.
pub fn run() -> Result<ExitCode> {
    let command = with_defaults(Cli::command())
        // With this, `--beta -1` fails because of the value -1, not as an unknown option `-1`.
        .mut_subcommands(|command| {
            command.mut_args(|arg| {
                let takes_value = arg.get_action().takes_values();
                arg.allow_negative_numbers(takes_value)
            })
        });
    let matches = command.get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    match cli.command {
        Command::Train(args) => train::run(*args),
        Command::Eval(args) => eval::run(*args),
        Command::Doctor(args) => doctor::run(args),
        Command::Inspect(args) => inspect::run(*args),
        Command::Generate(args) => generate::run(args),
        Command::Merge(args) => merge::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Selftest(args) => selftest::run(args),
        Command::Bench(args) => bench::run(args),
    }
}

/// Writes a command's report as JSON, for sharing.
fn write_json(path: &Path, report: &impl Serialize) -> Result<()> {
    storage::write_atomically(path, |file| {
        serde_json::to_writer_pretty(&mut *file, report)?;
        writeln!(file)
    })
}

/// Adds the defaults of `train`, which only `TrainConfig` holds, to its help. Other commands that share an
/// option with `train` get its help text from `train`.
fn with_defaults(mut command: clap::Command) -> clap::Command {
    let defaults = TrainConfig::default().to_toml();
    let defaults: toml::Table = defaults.parse().unwrap_or_default();
    let mut meanings = HashMap::new();
    command = command.mut_subcommand("train", |train| {
        train.mut_args(|arg| {
            let name = arg.get_id().as_str().replace('_', "-");
            let help = arg.get_help().map(|help| with_flags(&help.to_string()));
            let arg = match (defaults.get(&name), help) {
                (Some(value), Some(help)) if shows_default(value) => {
                    let value = match value {
                        toml::Value::String(text) => text.replace('\n', "\\n"),
                        other => other.to_string(),
                    };
                    let help = format!("{help} [default: {value}]");
                    arg.help(help)
                }
                (_, Some(help)) => arg.help(help),
                _ => arg,
            };
            if let Some(help) = arg.get_help() {
                meanings.insert(arg.get_id().clone(), help.clone());
            }
            arg
        })
    });
    command.mut_subcommands(|other| {
        other.mut_args(|arg| match (arg.get_help(), meanings.get(arg.get_id())) {
            (None, Some(help)) => arg.help(help.clone()),
            _ => arg,
        })
    })
}

fn shows_default(value: &toml::Value) -> bool {
    !value.is_bool() && value.as_str() != Some("")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_panic_is_called_a_bug() {
        let text = super::bug(&"panicked at src/x.rs:1:2:\nno such thing");
        for said in [
            "this is a bug",
            "src/x.rs:1:2",
            "please report it",
            "--resume",
        ] {
            assert!(text.contains(said), "{text}");
        }
    }
}
