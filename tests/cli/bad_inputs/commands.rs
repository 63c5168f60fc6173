//! Options, checkpoints, and the other commands.

use super::contents::*;
use super::*;

/// Files of options.
pub(super) fn option_files() -> Vec<BadInput> {
    vec![
        option_file(
            "a value that is not there",
            "beta = \n",
            &["c.toml: ", "line 1, column 8"],
        ),
        option_file(
            "a name that is none",
            "bta = 0.1\n",
            &["c.toml: ", "unknown field `bta`", "`beta`"],
        ),
        option_file(
            "a word for a number",
            "beta = \"x\"\n",
            &["c.toml: ", "line 1, column 8"],
        ),
        option_file(
            "a negative count",
            "batch-size = -1\n",
            &["c.toml: ", "`-1`"],
        ),
        option_file(
            "a name twice",
            "beta = 0.1\nbeta = 0.2\n",
            &["c.toml: ", "line 2, column 1", "duplicate key"],
        ),
        option_file("half an epoch", "epochs = 1.5\n", &["c.toml: ", "`1.5`"]),
        option_file(
            "a seed of 20 digits",
            "seed = 99999999999999999999\n",
            &["c.toml: ", "99999999999999999999"],
        ),
        option_file(
            "a table",
            "[train]\nbeta = 0.1\n",
            &["c.toml: ", "unknown field `train`"],
        ),
        option_file("NaN", "beta = nan\n", &["--beta: NaN"]),
        option_file(
            "infinity",
            "learning-rate = inf\n",
            &["--learning-rate: inf"],
        ),
        option_file(
            "JSON",
            r#"{"beta": 0.1}"#,
            &["c.toml: ", "line 1, column 1"],
        ),
        option_file(
            "a loss that is none",
            "loss = \"kto\"\n",
            &["c.toml: ", "no loss \"kto\"", "sigmoid"],
        ),
        option_file(
            "a model without a name",
            "model = \"\"\n",
            &["--model: is empty"],
        ),
        option_file(
            "held-out data without a name",
            "eval-data = \"\"\n",
            &["--eval-data: is empty"],
        ),
        option_file(
            "a number for data",
            "data = 5\n",
            &["c.toml: ", "line 1, column 8"],
        ),
        option_file(
            "not UTF-8",
            b"beta = \"\xff\"\n",
            &["cannot read c.toml", "UTF-8"],
        ),
        option_file(
            "a file of options within",
            "config = \"x\"\n",
            &["c.toml: ", "unknown field `config`"],
        ),
    ]
}

/// Checkpoints that were damaged; `sealed` ones agree with their manifest.
pub(super) fn checkpoints(run: &Sandbox) -> Vec<BadInput> {
    vec![
        checkpoint(
            "an empty manifest",
            "manifest.sha256",
            text(""),
            &[
                "run/checkpoints/step-2/manifest.sha256: the manifest is damaged",
                "--resume run/checkpoints/step-1",
            ],
        ),
        checkpoint(
            "a way out of the folder",
            "manifest.sha256",
            text("0000000000000000000000000000000000000000000000000000000000000000  ../x\n"),
            &[
                "run/checkpoints/step-2/manifest.sha256: the manifest names a file outside \
its folder",
                "--resume run/checkpoints/step-1",
            ],
        ),
        checkpoint(
            "an absolute path",
            "manifest.sha256",
            text("0000000000000000000000000000000000000000000000000000000000000000  /etc/passwd\n"),
            &[
                "run/checkpoints/step-2/manifest.sha256: the manifest names a file outside \
its folder",
                "--resume run/checkpoints/step-1",
            ],
        ),
        checkpoint(
            "bytes for a manifest",
            "manifest.sha256",
            b"\xff\xfe".to_vec(),
            &[
                "run/checkpoints/step-2/manifest.sha256: the manifest is damaged",
                "--resume run/checkpoints/step-1",
            ],
        ),
        checkpoint(
            "a manifest of 50 MB",
            "manifest.sha256",
            repeated("", "x", 50_000_000, ""),
            &[
                "run/checkpoints/step-2/manifest.sha256: the manifest is damaged",
                "--resume run/checkpoints/step-1",
            ],
        )
        .claims(),
        checkpoint(
            "a file that was changed",
            "training.json",
            text("{}"),
            &[
                "run/checkpoints/step-2/training.json: its contents are not those that \
were saved",
                "--resume run/checkpoints/step-1",
            ],
        ),
        checkpoint(
            "a folder for a file",
            "metrics.jsonl/",
            Vec::new(),
            &[
                "run/checkpoints/step-2/metrics.jsonl",
                "--resume run/checkpoints/step-1",
            ],
        ),
        sealed_checkpoint(
            "an empty training.json",
            "training.json",
            text("{}"),
            &[
                "run/checkpoints/step-2/training.json: not read: missing field",
                "--resume run/checkpoints/step-1",
            ],
        ),
        sealed_checkpoint(
            "a cut training.json",
            "training.json",
            text("{"),
            &[
                "run/checkpoints/step-2/training.json: not read: EOF",
                "--resume run/checkpoints/step-1",
            ],
        ),
        sealed_checkpoint(
            "another format",
            "training.json",
            training(run, "format", "2"),
            &[
                "run/checkpoints/step-2/training.json: a checkpoint of format 2",
                "--resume run/checkpoints/step-1",
            ],
        ),
        sealed_checkpoint(
            "a word for a step",
            "training.json",
            training(run, "step", r#""2""#),
            &[
                "run/checkpoints/step-2/training.json: not read: ",
                r#"string "2""#,
                "--resume run/checkpoints/step-1",
            ],
        ),
        sealed_checkpoint(
            "a negative step",
            "training.json",
            training(run, "step", "-2"),
            &[
                "run/checkpoints/step-2/training.json: not read: ",
                "`-2`",
                "--resume run/checkpoints/step-1",
            ],
        ),
        sealed_checkpoint(
            "a negative word",
            "training.json",
            training(run, "control", "[-1]"),
            &[
                "run/checkpoints/step-2/training.json: not read: ",
                "`-1`",
                "--resume run/checkpoints/step-1",
            ],
        ),
        sealed_checkpoint(
            "a count of 65 bits",
            "training.json",
            training(run, "skipped", "18446744073709551616"),
            &[
                "run/checkpoints/step-2/training.json: not read: ",
                "--resume run/checkpoints/step-1",
            ],
        ),
        sealed_checkpoint(
            "no facts",
            "training.json",
            training(run, "facts", "null"),
            &[
                "run/checkpoints/step-2/training.json: not read: ",
                "--resume run/checkpoints/step-1",
            ],
        ),
        sealed_checkpoint(
            "a control of one word",
            "training.json",
            training(run, "control", "[1]"),
            &["run/checkpoints/step-2/training.json: `control` has not 9 words"],
        ),
        sealed_checkpoint(
            "the step of another folder",
            "training.json",
            training(run, "step", "9"),
            &[
                "run/checkpoints/step-2: the folder of a checkpoint of step 9",
                "--resume run/checkpoints/step-1",
            ],
        ),
        sealed_checkpoint(
            "another number of steps",
            "training.json",
            training(run, "total", "9007199254740992"),
            &["another number of steps"],
        ),
        sealed_checkpoint(
            "moments that claim 2^62 bytes",
            "optimizer.safetensors",
            header_of(1 << 62, b"{}"),
            &[
                "run/checkpoints/step-2/optimizer.safetensors: not a whole safetensors file",
                "4611686018427387904",
            ],
        )
        .claims(),
        sealed_checkpoint(
            "no moments",
            "optimizer.safetensors",
            safetensors("{}", 0),
            &[
                "run/checkpoints/step-2/optimizer.safetensors: tensor `exp_avg.wte.weight`: \
missing",
            ],
        ),
        sealed_checkpoint(
            "options that are none",
            "run.toml",
            text("="),
            &["run/checkpoints/step-2/run.toml: ", "line 1, column 1"],
        ),
    ]
}

/// Paths and options, of every command.
pub(super) fn commands() -> Vec<BadInput> {
    vec![
        command(
            "a file for the output",
            "train --device cpu --cache-dir cache --data d.jsonl --out e.jsonl",
            &["e.jsonl: the output is to be a folder, and this is a file"],
        ),
        command(
            "an output below a file",
            "train --device cpu --cache-dir cache --data d.jsonl --out e.jsonl/out",
            &["cannot create e.jsonl/out"],
        ),
        command(
            "the model for the output",
            "train --device cpu --cache-dir cache --data d.jsonl --model model --out model",
            &["--out: model is the directory of a model of this run"],
        )
        .beside(Beside::Model),
        command(
            "the model for the output, to be overwritten",
            "train --device cpu --cache-dir cache --data d.jsonl --model model --overwrite \
--out model",
            &["--out: model is the directory of a model of this run"],
        )
        .beside(Beside::Model),
        command(
            "another folder to be overwritten",
            "train --device cpu --cache-dir cache --data d.jsonl --overwrite --out full",
            &["full: the output folder holds note.txt"],
        )
        .with("full/note.txt", text("mine")),
        command(
            "the current folder to be overwritten",
            "train --device cpu --cache-dir cache --data d.jsonl --overwrite --out .",
            &[".: the output folder is the one that the program runs in"],
        ),
        command(
            "an earlier run for the output",
            "train --device cpu --cache-dir cache --data d.jsonl --out run",
            &["run: the output folder is not empty", "--overwrite"],
        )
        .beside(Beside::Run),
        command(
            "an output two folders down, and bad data",
            "train --device cpu --cache-dir cache --out a/b/c --data bad.jsonl",
            &["bad.jsonl:1: not JSON"],
        )
        .with("bad.jsonl", text("x")),
        command(
            "no name for the output",
            "train --device cpu --cache-dir cache --data d.jsonl --out ''",
            &["--out <PATH>"],
        )
        .exits(2),
        command(
            "NaN for a learning rate",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --learning-rate \
nan",
            &["--learning-rate: NaN"],
        ),
        command(
            "a learning rate beyond 32 bits",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --learning-rate 1e39",
            &["--learning-rate: 1e39 is more than"],
        ),
        command(
            "no name for the device",
            "train --device '' --cache-dir cache --out out --data d.jsonl",
            &["--device: is empty"],
        ),
        command(
            "a beta that rounds to 0",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --beta 1e-60",
            &["--beta: with 0"],
        ),
        command(
            "no beta",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --beta ''",
            &["'--beta <BETA>'"],
        )
        .exits(2),
        command(
            "epochs of 65 bits",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --epochs \
18446744073709551616",
            &["'--epochs <EPOCHS>'", "too large"],
        )
        .exits(2),
        command(
            "a share above 1",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --eval-fraction \
1.5",
            &["--eval-fraction: 1.5"],
        ),
        command(
            "NaN for a share",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --eval-fraction \
nan",
            &["--eval-fraction: NaN"],
        ),
        command(
            "infinite minutes",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --save-minutes \
inf",
            &["--save-minutes: inf"],
        ),
        command(
            "NaN for a margin",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --min-score-margin \
nan",
            &["--min-score-margin: "],
        ),
        command(
            "two weights for one file",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --data-weights \
1,2",
            &["--data-weights: 2 weights for 1 --data"],
        ),
        command(
            "a weight of 10^9",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --data-weights \
1e9",
            &["--data-weights: 1000000000"],
        ),
        command(
            "no pair by weight",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --data-weights 0",
            &["--data-weights: leaves no pair"],
        ),
        command(
            "the best of no evaluations",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --save-best \
eval_loss",
            &["--save-best: ", "--eval-steps"],
        ),
        command(
            "patience without a metric",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --early-stopping-pat\
ience 3",
            &["--early-stopping-patience: ", "--save-best"],
        ),
        command(
            "a column without its part",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --columns x",
            &["--columns: no `=`"],
        ),
        command(
            "a part that is none",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --columns \
foo=bar",
            &["--columns: `foo` is no part"],
        ),
        command(
            "a column that is not there",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --columns \
chosen=nothing",
            &["d.jsonl:1: no column `nothing`"],
        ),
        command(
            "all pairs skipped",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --skip \
18446744073709551615",
            &["d.jsonl: no usable preference pair", "--skip"],
        ),
        command(
            "a pattern that is none",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --data [*",
            &["[*: no pattern"],
        ),
        command(
            "an option twice",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --beta \
0.1 --beta 0.2",
            &["'--beta <BETA>'", "multiple times"],
        )
        .exits(2),
        command(
            "a hexadecimal seed",
            "train --device cpu --cache-dir cache --out out --data d.jsonl --seed 0x10",
            &["'--seed <SEED>'"],
        )
        .exits(2),
        command(
            "a device number that is none",
            "train --cache-dir cache --out out --data d.jsonl --device 9999",
            &["no device 9999", "gpt2-dpo devices"],
        ),
        command(
            "a device name that is none",
            "bench --device nosuchgpu",
            &["--device: no device", "nosuchgpu"],
        ),
        command(
            "eval: no reference",
            "eval --model model --data d.jsonl --device cpu",
            &["--reference: is not given"],
        )
        .beside(Beside::Model),
        command(
            "eval: a reference that is gone",
            "eval --model model --data d.jsonl --device cpu",
            &["gone: ", "is not in the cache"],
        )
        .beside(Beside::Model)
        .with("model/run.toml", text("model = \"gone\"\n")),
        command(
            "eval: no pairs a batch",
            "eval --model model --reference model --data d.jsonl --device cpu --batch-size \
0",
            &["--batch-size: is 0"],
        )
        .beside(Beside::Model),
        command(
            "inspect: bad data",
            "inspect bad.jsonl --html page.html",
            &["bad.jsonl:1: not JSON"],
        )
        .with("bad.jsonl", text("{")),
        command(
            "inspect: a page in no folder",
            "inspect d.jsonl --html nowhere/page.html",
            &["cannot write nowhere/page.html"],
        ),
        command(
            "inspect: standard input twice",
            "inspect - -",
            &["standard input (-) is named twice"],
        ),
        command(
            "inspect: empty standard input",
            "inspect -",
            &["-: no record in it"],
        ),
        command(
            "inspect: the data for the page",
            "inspect d.jsonl --html d.jsonl",
            &["d.jsonl"],
        ),
        command(
            "inspect: a device for nothing",
            "inspect d.jsonl --device 9999",
            &["--device: has no effect without --model"],
        ),
        command(
            "generate: NaN for a temperature",
            "generate --prompt a --device cpu --temperature nan",
            &["--temperature: NaN"],
        ),
        command(
            "generate: a probability of 2",
            "generate --prompt a --device cpu --temperature 1 --top-p 2",
            &["--top-p: 2"],
        ),
        command(
            "generate: an empty prompt",
            "generate --prompt '' --device cpu",
            &["--prompt: has 0 tokens"],
        ),
        command(
            "generate: prompt and message",
            "generate --prompt a --message b",
            &["'--message <MESSAGE>'"],
        )
        .exits(2),
        command(
            "generate: a seed for nothing",
            "generate --prompt a --device cpu --seed 3",
            &["--temperature <TEMPERATURE>"],
        )
        .exits(2),
        command(
            "bench: a model that is none",
            "bench --model nosuch --device cpu",
            &["--model: nosuch"],
        ),
        command(
            "bench: a report in no folder",
            "bench --device cpu --json nowhere/report.json",
            &["cannot write nowhere/report.json"],
        ),
        command(
            "bench: NaN seconds",
            "bench --device cpu --seconds-per-kernel nan",
            &["--seconds-per-kernel: NaN"],
        ),
        command(
            "bench: more tokens than positions",
            "bench --model small --device cpu --max-prompt-tokens 100000",
            &["--max-prompt-tokens: 100000"],
        ),
        command(
            "bench: 10^12 parameters",
            "bench --model model --device cpu",
            &["model/config.json: ", "1306490968064 parameters"],
        )
        .with(
            "model/config.json",
            text(
                "{\"model_type\":\"gpt2\",\"vocab_size\":16777216,\"n_positions\":128,\
\"n_embd\":65536,\"n_layer\":12,\"n_head\":1024,\"n_inner\":512}",
            ),
        )
        .claims(),
        command(
            "selftest: the CPU",
            "selftest --device cpu",
            &["the CPU engine is the twins themselves"],
        ),
        command(
            "selftest: a device that is none",
            "selftest --device nosuchgpu",
            &["--device: no device"],
        ),
        command(
            "devices: a backend that is none",
            "devices --backend cuda",
            &["'--backend <BACKEND>'"],
        )
        .exits(2),
    ]
}
