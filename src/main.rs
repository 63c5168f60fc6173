//! The `gpt2-dpo` program: parse, run, print, exit code. The training is in the library; `cli` holds the
//! commands, the built-in starter and the output directory.

#![deny(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::report_panics();
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            cli::tell!("error: {}", cli::with_flags(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}
