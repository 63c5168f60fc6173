//! The table of kernels that `bench` and `train --profile` print, in 100 columns.

use gpt2_dpo::ceilings::{Ceilings, Nearer};
use gpt2_dpo::profile::{Row, Speed};

use super::say;

/// Rows below this share of the time are summed up in one line.
const LEAST_SHARE: f64 = 0.002;

/// Prints the device's ceilings.
pub fn ceilings(ceilings: &Ceilings) {
    let line = |name: &str, per_second: f64, unit: &str, what: &str| {
        say!("{name:8}{:9.1} {unit:8}  {what}", per_second * 1e-9);
    };
    let Ceilings {
        compute,
        copy,
        matrices,
    } = ceilings;
    line("compute", compute.per_second, "GFLOP/s", &compute.what);
    line("copy", copy.per_second, "GB/s", &copy.what);
    if let Some(matrices) = matrices {
        line("units", matrices.per_second, "GFLOP/s", &matrices.what);
    }
}

/// Prints the rows, the largest share first; `time` heads the column of the time per call.
pub fn kernels(rows: &[Row], time: &str) {
    say!(
        "{:37} {:13} {:>5} {time:>9} {:>7} {:>6} {:10} {:>6}",
        "kernel",
        "shape",
        "calls",
        "GFLOP/s",
        "GB/s",
        "of ceiling",
        "share"
    );
    let mut small: Vec<&Speed> = Vec::new();
    for row in rows {
        let (kernel, shape) = (row.label.to_string(), row.label.shape());
        let start = format!("{kernel:37} {shape:13} {:5}", row.calls);
        match &row.speed {
            Some(speed) if speed.share < LEAST_SHARE => small.push(speed),
            Some(speed) => say!("{start} {}", figures(speed)),
            None => say!("{start} WRONG{}", distance(row)),
        }
    }
    if !small.is_empty() {
        let share: f64 = small.iter().map(|speed| speed.share).sum();
        let what = format!("{} more, each below {} %", small.len(), 100.0 * LEAST_SHARE);
        say!("{what:92} {:4.1} %", 100.0 * share);
    }
}

fn figures(speed: &Speed) -> String {
    let nearer = match speed.nearer {
        Nearer::Compute => "math",
        Nearer::Copy => "copy",
        Nearer::Matrices => "unit",
    };
    // What lies in a cache can be much faster than a copy, most of all if other programs ran meanwhile.
    let of_ceiling = match 100.0 * speed.of_ceiling {
        percent if percent > 999.0 => ">999".to_owned(),
        percent => format!("{percent:.0}"),
    };
    format!(
        "{:>9} {:7.1} {:6.1}{of_ceiling:>4} % {nearer:4} {:4.1} %",
        seconds(speed.seconds),
        speed.gflops,
        speed.gbytes,
        100.0 * speed.share
    )
}

fn distance(row: &Row) -> String {
    row.distance.map_or_else(String::new, |d| format!(": {d}"))
}

/// A time in a suitable unit.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} µs", 1e6 * s),
        s if s < 1.0 => format!("{:.2} ms", 1e3 * s),
        s => format!("{s:.2} s"),
    }
}
