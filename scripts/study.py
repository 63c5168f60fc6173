"""Which loss does what: a small model that `sft` has trained is tuned with several losses, over several seeds.

    study.py make --data instructions.json --out study
    study.py run --binary gpt2-dpo --out study --seeds 3 --device cpu
    study.py table --out study

`make` trains a byte-level BPE vocabulary on the data (instruction, input, chosen, rejected), writes a GPT-2 of random
weights over it, and divides the records into training and held-out ones. `run` trains the model with `--loss sft` on the
chosen responses, and from that start with each of RUNS and each seed. `table` prints, over the seeds, mean and 95 %
interval (Student's t) of the held-out accuracy, margin and log-probs, the time, and what `doctor` finds.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = {
    "sigmoid": ["--loss", "sigmoid"],
    "sigmoid + sft": ["--loss", "sigmoid", "--sft-weight", "0.2"],
    "ipo": ["--loss", "ipo"],
    "apo_zero": ["--loss", "apo_zero"],
    "LoRA 8, sigmoid": ["--loss", "sigmoid", "--lora-rank", "8", "--learning-rate", "1e-3"],
}
VOCABULARY, WIDTH, LAYERS, HEADS, POSITIONS = 4096, 192, 4, 6, 256
HELD_OUT = 100
# The two-sided 95 % points of Student's t for 1 to 9 degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def make(args):
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel

    records = json.loads(args.data.read_text(encoding="utf-8"))
    args.out.mkdir(parents=True, exist_ok=True)
    texts = [record[key] for record in records for key in ("instruction", "input", "chosen", "rejected")]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=VOCABULARY, special_tokens=["<|endoftext|>"], show_progress=False)
    model = args.out / "random"
    torch.manual_seed(13)
    GPT2LMHeadModel(GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=POSITIONS,
        bos_token_id=0, eos_token_id=0,
    )).save_pretrained(model)
    tokenizer.save_model(str(model))
    for name, part in [("held_out", records[:HELD_OUT]), ("train", records[HELD_OUT:])]:
        lines = [json.dumps({k: r[k] for k in ("instruction", "input", "chosen", "rejected")}) for r in part]
        (args.out / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def train(args, out, model, options):
    """Runs `train` and returns its seconds."""
    command = [
        args.binary, "train", "--model", model, "--data", args.out / "train.jsonl", "--eval-data",
        args.out / "held_out.jsonl", "--device", args.device, "--out", out, "--overwrite", *options,
    ]
    began = time.perf_counter()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return time.perf_counter() - began


def run(args):
    start = args.out / "sft"
    if not (start / "model.safetensors").exists():
        train(args, start, args.out / "random", ["--loss", "sft", "--epochs", "8", "--learning-rate", "1e-3"])
    for name, options in RUNS.items():
        for seed in range(args.seeds):
            out = args.out / f"{name}-{seed}".replace(" ", "")
            common = [] if "--learning-rate" in options else ["--learning-rate", "1e-4"]
            options_of_seed = [*options, *common, "--epochs", "2", "--eval-steps", "31", "--seed", str(seed)]
            seconds = train(args, out, start, options_of_seed)
            doctor = subprocess.run([args.binary, "doctor", out, "--json"], capture_output=True, text=True)
            (out / "study.json").write_text(json.dumps({"seconds": seconds, "doctor": doctor.stdout}))
            print(f"{out}: {seconds:.1f} s", flush=True)


def interval(values):
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.3f}"
    half = STUDENT[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.3f} ± {half:.3f}"


def table(args):
    names = ("rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected")
    print("| run | " + " | ".join(names) + " | seconds | doctor |")
    print("| --- " * (len(names) + 3) + "|")
    before = None
    for name in RUNS:
        last, seconds, found = {key: [] for key in names}, [], set()
        for out in sorted(args.out.glob(f"{name}-*".replace(" ", ""))):
            rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
            rows = [row for row in rows if "eval_loss" in row]
            before = rows[0]
            for key in names:
                last[key].append(rows[-1][f"eval_{key}"])
            study = json.loads((out / "study.json").read_text())
            seconds.append(study["seconds"])
            found |= {finding["about"] for finding in json.loads(study["doctor"] or "{}").get("findings", [])}
        cells = [interval(last[key]) for key in names]
        print(f"| {name} | " + " | ".join(cells) + f" | {interval(seconds)} | {', '.join(sorted(found)) or 'nothing'} |")
    print("before: " + ", ".join(f"{key} {before[f'eval_{key}']:.3f}" for key in names))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in [("make", make), ("run", run), ("table", table)]:
        p = commands.add_parser(name)
        p.set_defaults(run=function)
        p.add_argument("--out", type=Path, required=True)
        if name == "make":
            p.add_argument("--data", type=Path, required=True)
        if name == "run":
            p.add_argument("--binary", type=Path, required=True)
            p.add_argument("--seeds", type=int, default=3)
            p.add_argument("--device", default="cpu")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
