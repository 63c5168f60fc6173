"""Adapters: gpt2-dpo against its own full training, and against PEFT with PyTorch.

    cargo build --release
    python3 benches/peers/lora.py compare --rounds 2          # needs torch, transformers and peft
    python3 benches/peers/lora.py run --model DIR --data DIR/pairs.jsonl --steps 3

`compare` makes gpt2 with random weights and pairs of random ids (`pytorch_dpo.py make`), which all sides read. They take
turns, in this order and then in the reverse: the recipe's steps (4 pairs × 4, 96 + 64 tokens) with adapters of rank 16
beside every linear layer, the same with the whole model trained, and PEFT's. The times are medians of steps after a
warm-up, and ratios are of medians of one run of this script. Before a ratio is printed, every first loss must be ln 2.

`run` is the loop of PEFT: transformers' GPT2LMHeadModel, chosen and rejected in one padded forward as in TRL, the
reference from the same weights with the adapter switched off, fused AdamW over the adapter alone. Its memory is what the
process grew by since before the model was loaded.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from runner import Runner
from table import Row, comparison

HERE = Path(__file__).resolve().parent
PEER = HERE / "pytorch_dpo.py"
BUILT = HERE.parent.parent / "target" / "release" / "gpt2-dpo"
BATCH, ACCUMULATION = 4, 4
WARMUP = 1


# run


def run(args):
    import torch
    import torch.nn.functional as F
    from peft import LoraConfig, get_peft_model
    from pytorch_dpo import Batch, peak_memory_bytes, read_pairs, resident_bytes
    from transformers import GPT2LMHeadModel

    if args.threads:
        torch.set_num_threads(args.threads)
    cpu, before = torch.device("cpu"), resident_bytes()
    torch.manual_seed(13)
    # eval() turns dropout off, as TRL's DPO does; gradients still flow.
    config = LoraConfig(
        r=args.rank, lora_alpha=2 * args.rank, target_modules=["c_attn", "c_proj", "c_fc"],
        fan_in_fan_out=True, task_type="CAUSAL_LM",
    )
    model = get_peft_model(GPT2LMHeadModel.from_pretrained(args.model), config).eval()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.learning_rate, weight_decay=0.01, fused=True)
    pairs = read_pairs(args.data)
    batches = [Batch(pairs[i : i + BATCH], cpu) for i in range(0, len(pairs), BATCH)]

    def logp_sums(batch):
        logits = model(input_ids=batch.ids).logits[:, :-1]
        logps = logits.log_softmax(-1).gather(2, batch.ids[:, 1:, None]).squeeze(2)
        return (logps * batch.response).sum(1).chunk(2)

    stream, steps = cycle(batches), []
    for step in range(1, args.steps + 1):
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for batch in islice(stream, ACCUMULATION):
            with torch.inference_mode(), model.disable_adapter():
                reference = logp_sums(batch)
            chosen, rejected = (ours - theirs for ours, theirs in zip(logp_sums(batch), reference))
            loss = -F.logsigmoid(0.1 * (chosen - rejected)).mean() / ACCUMULATION
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        steps.append({
            "step": step, "loss": total, "grad_norm": norm.item(), "seconds": time.perf_counter() - began,
        })
        print(json.dumps(steps[-1]), flush=True)
    result = {"steps": steps, "peak_memory_bytes": peak_memory_bytes(cpu, before)}
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


# compare


class Side:
    """What one program did in all rounds."""

    def __init__(self, name):
        self.name, self.seconds, self.memory = name, [], 0

    def note(self, losses, seconds, memory):
        if not abs(losses[0] - math.log(2)) < 1e-4:
            sys.exit(f"{self.name}: the first loss is {losses[0]}, not ln 2")
        self.seconds += seconds[WARMUP:]
        self.memory = max(self.memory, memory)

    def pairs_per_second(self):
        return BATCH * ACCUMULATION / statistics.median(self.seconds)


def ours(side, runner, args, folder, options):
    out = folder / "out"
    command = [
        args.binary, "train", "--device", "cpu", "--model", folder, "--data", folder / "pairs.jsonl",
        "--no-shuffle", "--max-steps", args.steps, "--save-minutes", 0, "--out", out, "--overwrite",
        *options,
    ]
    done = runner.run(command)
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    seconds = [BATCH * ACCUMULATION / row["pairs_per_second"] for row in rows]
    side.note([row["loss"] for row in rows], seconds, done.max_rss_bytes)


def theirs(side, runner, args, folder):
    file = folder / "peft.json"
    runner.run([
        sys.executable, __file__, "run", "--model", folder, "--data", folder / "pairs.jsonl",
        "--steps", args.steps, "--rank", args.rank, "--json", file, "--threads", args.threads,
    ])
    result = json.loads(file.read_text())
    steps = result["steps"]
    seconds = [step["seconds"] for step in steps]
    side.note([step["loss"] for step in steps], seconds, result["peak_memory_bytes"])


def compare(args):
    runner = Runner(args.threads)
    names = ("adapters", "full", "adapters, on the fly", "PEFT")
    sides = {name: Side(name) for name in names}
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        folder = Path(folder)
        pairs = BATCH * ACCUMULATION
        runner.run([sys.executable, PEER, "make", "--preset", "gpt2", "--out", folder, "--pairs", pairs])
        rank, fly = ("--lora-rank", args.rank), ("--reference", "on-the-fly")
        cache = ("--cache-dir", folder / "cache")
        # Once, so that no timed run computes the reference before its steps.
        ours(Side("warm-up"), runner, args, folder, (*rank, *cache))
        turns = [
            ("adapters", lambda side: ours(side, runner, args, folder, (*rank, *cache))),
            ("full", lambda side: ours(side, runner, args, folder, cache)),
            ("adapters, on the fly", lambda side: ours(side, runner, args, folder, (*rank, *fly))),
            ("PEFT", lambda side: theirs(side, runner, args, folder)),
        ]
        turns = [turn for turn in turns if turn[0] != "PEFT" or not args.without_peft]
        for round in range(args.rounds):
            for name, take in turns if round % 2 == 0 else reversed(turns):
                take(sides[name])
                speed, mib = sides[name].pairs_per_second(), sides[name].memory / 2**20
                print(f"round {round + 1}: {name}: {speed:.3f} pairs/s, {mib:.0f} MiB", file=sys.stderr)
    adapters, full, fly, peft = (sides[name] for name in names)
    mib = 2**20
    rows = [
        Row(f"adapters of rank {args.rank}", "full training, same build", "pairs/s",
            adapters.pairs_per_second(), full.pairs_per_second(), 1.25),
        Row("peak memory", "full training, same build", "MiB",
            adapters.memory / mib, full.memory / mib, 0.40, at_most=True),
    ]
    if peft.seconds:
        rows += [
            Row("adapters, reference on the fly", "PEFT + PyTorch", "pairs/s",
                fly.pairs_per_second(), peft.pairs_per_second(), 2.0),
            Row("peak memory", "PEFT + PyTorch", "MiB", fly.memory / mib, peft.memory / mib, 0.45, at_most=True),
        ]
    print(comparison(rows))
    if any(row.met() is False for row in rows):
        sys.exit(1)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)

    p = commands.add_parser("run", help="train an adapter with PEFT for some steps")
    p.set_defaults(command=run)
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--data", type=Path, required=True, help="JSONL of prompt_ids, chosen_ids, rejected_ids")
    p.add_argument("--steps", type=int, default=3)
    p.add_argument("--rank", type=int, default=16)
    p.add_argument("--learning-rate", type=float, default=1e-5)
    p.add_argument("--threads", type=int)
    p.add_argument("--json", type=Path)

    p = commands.add_parser("compare", help="all sides in turns, as ratios; exit 1 on a missed target")
    p.set_defaults(command=compare)
    p.add_argument("--binary", type=Path, default=BUILT)
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--steps", type=int, default=3, help="of each turn, one for the warm-up included")
    p.add_argument("--rank", type=int, default=16)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--without-peft", action="store_true")
    p.add_argument("--scratch", type=Path, help="folder for the model and the runs")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_args()
    arguments.command(arguments)
