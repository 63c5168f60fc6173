//! Options that cannot be used, and their help.

use crate::sandbox::{Sandbox, steps};

#[test]
fn numbers_that_make_no_sense() {
    let sandbox = Sandbox::new();
    let counts = ["0", "-1", "1.5", "x", "99999999999999999999"];
    let reals = ["-1", "nan", "inf", "1e999", "x"];
    let at_least_1 = [
        "--batch-size",
        "--gradient-accumulation-steps",
        "--epochs",
        "--max-prompt-tokens",
        "--max-response-tokens",
    ];
    let at_least_0 = [
        "--max-steps",
        "--eval-steps",
        "--warmup-steps",
        "--seed",
        "--max-binding-mib",
    ];
    let real = [
        "--beta",
        "--learning-rate",
        "--weight-decay",
        "--max-grad-norm",
    ];
    let cases = at_least_1.map(|option| (option, &counts[..])).into_iter();
    let cases = cases.chain(at_least_0.map(|option| (option, &counts[1..])));
    let cases = cases.chain(real.map(|option| (option, &reals[..])));
    for (option, values) in cases {
        for value in values {
            sandbox.refuses(&format!("--data d.jsonl {option} {value}"), &[option]);
        }
    }
    sandbox.refuses("--data d.jsonl --beta 0", &["--beta", "0"]);
}

/// Sizes whose products do not fit into 64 bits.
#[test]
fn numbers_too_large_to_multiply() {
    let sandbox = Sandbox::new();
    let product = "--batch-size 4294967296 --gradient-accumulation-steps 4294967296";
    let options = format!("--data d.jsonl {product}");
    sandbox.refuses(&options, &["--batch-size", "--gradient-accumulation-steps"]);
    for (at, options) in [
        "--max-steps 1 --batch-size 18446744073709551615 --gradient-accumulation-steps 1",
        "--max-steps 1 --max-binding-mib 17592186044416",
        "--max-steps 1 --max-prompt-tokens 18446744073709551615",
        "--max-steps 1 --warmup-steps 18446744073709551615 --seed 18446744073709551615",
    ]
    .into_iter()
    .enumerate()
    {
        let run = format!("--data d.jsonl --out {at} {options}");
        sandbox.train(&run).ok();
        assert_eq!(sandbox.metrics(&at.to_string()).len(), 1, "{options}");
        let again = format!("train --config {at}/run.toml --out {at}-again");
        sandbox.run(&again).ok();
    }
}

#[test]
fn options_that_need_another() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    sandbox.refuses("--eval-data e.jsonl", &["--eval-data", "--data"]);
    sandbox.refuses("--model model", &["--data", "--model"]);
    sandbox.refuses(
        "--data d.jsonl --eval-steps 1",
        &["--eval-steps", "--eval-data"],
    );
    sandbox.refuses(
        "--data d.jsonl --template Hello",
        &["--template", "{prompt}"],
    );
}

#[test]
fn names_that_are_none() {
    let sandbox = Sandbox::new();
    for (options, fragments) in [
        ("--learning-rte 1", ["--learning-rte", "--learning-rate"]),
        ("--loss kto", ["--loss", "sigmoid"]),
        ("--lr-scheduler step", ["--lr-scheduler", "cosine"]),
        ("--decay none", ["--decay", "matrices"]),
        ("--reference none", ["--reference", "on-the-fly"]),
        ("--no-shuffle=perhaps", ["--no-shuffle", "perhaps"]),
        ("surplus", ["surplus", "--help"]),
    ] {
        sandbox.refuses(&format!("--data d.jsonl {options}"), &fragments);
    }
    sandbox.run("tune").refused(&["tune"]);
    assert_ne!(sandbox.run("").code, Some(0));
}

/// The defaults are the model card's recipe.
#[test]
fn help_shows_every_option_with_its_default() {
    let sandbox = Sandbox::new();
    let help = sandbox.run("train --help").ok().stdout;
    for (option, default) in [
        ("loss", "sigmoid"),
        ("beta", "0.1"),
        ("learning-rate", "0.00001"),
        ("batch-size", "4"),
        ("gradient-accumulation-steps", "4"),
        ("epochs", "1"),
        ("max-steps", "0"),
        ("max-prompt-tokens", "96"),
        ("max-response-tokens", "64"),
        ("template", r"User: {prompt}\nAssistant: "),
        ("weight-decay", "0.01"),
        ("decay", "all"),
        ("max-grad-norm", "1.0"),
        ("lr-scheduler", "constant"),
        ("warmup-steps", "0"),
        ("seed", "13"),
        ("eval-steps", "0"),
        ("reference", "cached"),
        ("device", "auto"),
        ("backend", "auto"),
        ("max-binding-mib", "0"),
        ("precision", "f32"),
    ] {
        let entry = entry(&help, option);
        let entry: Vec<&str> = entry.split_whitespace().collect(); // however it is wrapped
        let entry = entry.join(" ");
        assert!(entry.contains(&format!("[default: {default}]")), "{entry}");
    }
    // The descriptions of these options say what happens without them.
    for option in ["config", "model", "data", "eval-data", "out", "cache-dir"] {
        entry(&help, option);
    }
    // Every option in a run.toml is in the help.
    sandbox.train("--data d.jsonl --out out").ok();
    let run: toml::Table = String::from_utf8(sandbox.read("out/run.toml"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(run.len() > 20);
    for option in run.keys() {
        entry(&help, option);
    }
}

/// The help text of an option.
#[track_caller]
fn entry<'a>(help: &'a str, option: &str) -> &'a str {
    let is_this = |entry: &&str| {
        let rest = entry.strip_prefix(option);
        rest.is_some_and(|rest| rest.starts_with([' ', '[', '\n']))
    };
    let mut entries = help.split("\n      --");
    entries
        .find(is_this)
        .unwrap_or_else(|| panic!("no --{option} in the help"))
}

#[test]
fn options_without_effect_are_refused() {
    let sandbox = Sandbox::new();
    for (options, option) in [
        ("--loss sft --beta 0.2", "--beta"),
        ("--loss sft --reference cached", "--reference"),
        ("--loss hinge --label-smoothing 0.1", "--label-smoothing"),
        ("--loss robust --discopop-tau 0.1", "--discopop-tau"),
        ("--lr-scheduler cosine --min-lr-rate 0.1", "--min-lr-rate"),
        ("--lr-scheduler linear --decay-steps 3", "--decay-steps"),
        (
            "--device cpu --reference on-the-fly --cache-dir c",
            "--cache-dir",
        ),
        ("--no-autotune --loss sft --cache-dir c", "--cache-dir"),
        ("--device cpu --no-autotune", "--no-autotune"),
        ("--device cpu --gentle", "--gentle"),
        ("--no-shuffle --seed 5", "--seed"),
        ("--max-steps 3 --epochs 2", "--epochs"),
        ("--device cpu --backend vulkan", "--backend"),
        ("--device cpu --checked", "--checked"),
    ] {
        let command = format!("train --data d.jsonl --out out {options}");
        sandbox.run(&command).refused(&[option, "no"]);
    }
    sandbox
        .run("generate --prompt a --top-k 3 --device cpu")
        .refused(&["--temperature"]);
}

#[test]
fn max_steps_goes_on_past_an_epoch() {
    let sandbox = Sandbox::new();
    let rows = sandbox.metrics_of("out", "--batch-size 2 --max-steps 7");
    assert_eq!(steps(&rows).len(), 7);
}
