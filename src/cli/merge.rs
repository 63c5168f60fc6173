//! `gpt2-dpo merge`.

use std::path::PathBuf;
use std::process::ExitCode;

use gpt2_dpo::storage::Replacing;
use gpt2_dpo::{Error, Result};

use super::adapted::Named;
use super::say;

#[derive(clap::Args)]
pub struct Args {
    /// The adapter: a folder that PEFT or train --lora-rank has written
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// Its base model: a directory, or a name of the hub; what its adapter_config.json says if not given
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Directory for the whole model; must be empty or absent
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        adapter,
        model,
        out,
    } = args;
    let is_free = match out.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !out.exists(),
    };
    if !is_free {
        return Err(Error::File {
            path: out,
            what: "the output folder is not empty".into(),
            help: "name another output folder".into(),
        });
    }
    let named = Named::of(model.as_deref(), Some(&adapter))?;
    let merged = named.load()?;
    std::fs::create_dir_all(&out).map_err(|e| Error::io("create", &out, e))?;
    let mut folder = Replacing::on_disk(&out);
    merged.outline.save(&mut folder, &mut &merged.weights)?;
    say!(
        "saved   {}: the base with {} in its weights",
        out.display(),
        adapter.display()
    );
    Ok(ExitCode::SUCCESS)
}
