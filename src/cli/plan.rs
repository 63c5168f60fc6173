//! `gpt2-dpo train --plan`.

use gpt2_dpo::plan::Plan;

use super::{say, with_flags};

/// Prints a run's memory, one row for each kind of buffer, and whether it fits.
pub fn show(plan: &Plan) {
    let extent = plan.extent;
    say!(
        "step    {} micro-batches of {} pairs: up to {} rows, {} response tokens each",
        plan.micro_batches,
        extent.pairs,
        extent.rows,
        extent.heads
    );
    if let Some(note) = &plan.note {
        say!("note    {}", with_flags(note));
    }

    say!("\nkind         buffers       MiB   largest");
    for share in &plan.shares {
        let largest = share.largest.as_ref();
        let largest = largest.map(|l| format!("{:7.1}  {}", mib(l.bytes), l.label));
        say!(
            "{:12} {:7} {:9.1}   {}",
            share.kind,
            share.buffers,
            mib(share.bytes),
            largest.unwrap_or_default()
        );
    }
    let buffers: usize = plan.shares.iter().map(|share| share.buffers).sum();
    say!(
        "{:12} {buffers:7} {:9.1}   and what the driver needs for itself",
        "all",
        mib(plan.bytes())
    );

    say!(
        "\nbuffers  every one fits: the device binds up to {:.0} MiB",
        mib(plan.max_binding_bytes)
    );
    say!(
        "splits   the vocabulary matrix in {}, {} other matrices in several",
        plan.vocabulary_shards,
        plan.split_matrices
    );
    say!(
        "head     {} of {} response tokens at a time",
        plan.head_rows,
        extent.heads
    );
    say!("memory   {}", fit(plan));
    say!(
        "saves    a checkpoint has {0:.1} MiB, on disk and, while it is written, in the machine's memory",
        mib(plan.checkpoint_bytes as usize)
    );
    if let Some(bytes) = plan.recompute_bytes {
        say!(
            "less     {:.1} MiB with --checkpoint-activations, for a tenth to a fifth more time",
            mib(bytes)
        );
    }
}

/// The verdict on whether the run fits, or why there is none.
fn fit(plan: &Plan) -> String {
    let Some(memory) = plan.memory else {
        return "the driver does not tell how much there is; where it refuses, training halves the \
                micro-batch"
            .to_owned();
    };
    let verdict = match plan.bytes() {
        bytes if bytes > memory.total => "it does not fit",
        bytes if bytes > memory.free => "it fits once enough of it is free",
        _ => "it fits",
    };
    format!(
        "{:.0} MiB in all, {:.0} MiB of them free: {verdict}",
        mib(memory.total),
        mib(memory.free)
    )
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
