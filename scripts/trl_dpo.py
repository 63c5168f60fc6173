"""TRL's own DPOTrainer, with which this program's runs are compared: every logged number, and the weights at the end.

    trl_dpo.py tokenize --model DIR --data pairs.jsonl --limit 480 --out ids.jsonl
    trl_dpo.py train --model DIR --data ids.jsonl --out theirs -- loss_type=sigmoid beta=0.1
    trl_dpo.py compare --ours OUT --theirs theirs --tolerance 1e-3 --weights 1e-4

The pairs are token ids in file order, dropout is off, the reference's log-probs are precomputed, the learning rate is
constant. What follows `--` are settings of DPOConfig. The other program takes the same file:
`gpt2-dpo train --model DIR --data ids.jsonl --no-shuffle --out OUT`.
"""

import argparse
import json
import sys
from itertools import islice
from pathlib import Path

# What both programs log under one name. Rewards are near 0 at first, so their differences are measured against the
# largest of the run.
NAMES = (
    "loss", "grad_norm", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies",
    "logps/chosen", "logps/rejected", "logits/chosen", "logits/rejected", "entropy", "mean_token_accuracy",
    "num_tokens",
)


def tokenize(args):
    from transformers import AutoTokenizer

    from pytorch_dpo import read_pairs

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    pairs = islice(read_pairs(args.data, tokenizer, 96, 64), args.limit)
    with open(args.out, "w", encoding="utf-8") as out:
        for prompt, chosen, rejected in pairs:
            row = {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
            out.write(json.dumps(row) + "\n")


def train(args):
    import torch
    import trl
    from datasets import Dataset
    from transformers import AutoTokenizer, GPT2LMHeadModel

    class Trainer(trl.DPOTrainer):
        def _prepare_dataset(self, dataset, *others):
            return dataset

    def setting(text):
        name, value = text.split("=", 1)
        try:
            return name, json.loads(value)
        except json.JSONDecodeError:
            return name, value

    torch.set_num_threads(2)
    rows = [json.loads(line) for line in args.data.read_text(encoding="utf-8").splitlines()]
    held_out = rows[: args.eval] if args.eval else None
    model = GPT2LMHeadModel.from_pretrained(args.model, dtype=torch.float32)
    reference = GPT2LMHeadModel.from_pretrained(args.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    tokenizer.pad_token = tokenizer.eos_token
    settings = {
        "per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "gradient_accumulation_steps": 4,
        "learning_rate": 1e-5, "num_train_epochs": 1, "max_length": None, "precompute_ref_log_probs": True,
    } | dict(map(setting, args.settings))
    config = trl.DPOConfig(
        output_dir=str(args.out), use_cpu=True, bf16=False, disable_dropout=True, report_to=[], save_strategy="no",
        gradient_checkpointing=False, logging_steps=1, lr_scheduler_type="constant", weight_decay=0.01,
        train_sampling_strategy="sequential", dataloader_pin_memory=False, seed=13,
        eval_strategy="epoch" if held_out else "no", **settings,
    )
    trainer = Trainer(
        model=model, ref_model=reference, args=config, processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(held_out) if held_out else None,
    )
    trainer.train()
    trainer.save_model(args.out)
    logged = [row for row in trainer.state.log_history if "loss" in row or "eval_loss" in row]
    (args.out / "logged.json").write_text(json.dumps(logged, indent=1) + "\n")


def compare(args):
    import numpy
    from safetensors.numpy import load_file

    ours = [json.loads(line) for line in (args.ours / "metrics.jsonl").read_text().splitlines()]
    ours = [row for row in ours if "grad_norm" in row]
    theirs = [row for row in json.loads((args.theirs / "logged.json").read_text()) if "loss" in row]
    if len(ours) != len(theirs) or not ours:
        sys.exit(f"{len(ours)} steps here, {len(theirs)} there")
    misses = 0
    for name in NAMES:
        pairs = [(mine.get(name), other.get(name)) for mine, other in zip(ours, theirs)]
        if any(value is None for pair in pairs for value in pair):
            print(f"{name:20} is not in both")
            continue
        scale = max(abs(other) for _, other in pairs)
        scale = [max(abs(other), scale if name.startswith("rewards/") else 0, 1e-30) for _, other in pairs]
        worst = max(
            range(len(pairs)), key=lambda i: numpy.nan_to_num(abs(pairs[i][0] - pairs[i][1]) / scale[i], nan=numpy.inf)
        )
        off = abs(pairs[worst][0] - pairs[worst][1]) / scale[worst]
        passed = off <= args.tolerance
        misses += not passed
        print(f"{name:20} worst at step {worst + 1}: {pairs[worst][0]:.8g}, theirs {pairs[worst][1]:.8g}: {off:.1e}"
              + ("" if passed else "  MISS"))
    if args.weights:
        mine, other = load_file(args.ours / "model.safetensors"), load_file(args.theirs / "model.safetensors")
        other = {name.removeprefix("transformer."): value for name, value in other.items()}
        mine = {name.removeprefix("transformer."): value for name, value in mine.items()}
        names = sorted(mine.keys() & other.keys())
        for values in (mine, other):
            for name in names:
                # The gradient of the keys' bias is rounding error alone: the softmax does not depend on it.
                if name.endswith("attn.c_attn.bias"):
                    queries, keys, _ = numpy.split(values[name], 3)
                    values[name][len(queries):len(queries) + len(keys)] = 0
        off = {
            name: float(numpy.linalg.norm(mine[name] - other[name]) / max(numpy.linalg.norm(other[name]), 1e-30))
            for name in names
        }
        worst = max(off, key=off.get)
        passed = off[worst] <= args.weights
        misses += not passed
        print(f"{len(names)} tensors, the worst relative L2: {off[worst]:.1e} ({worst})" + ("" if passed else "  MISS"))
    if misses:
        sys.exit(f"{misses} numbers differ by more than allowed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("tokenize", help="write pairs as token ids")
    p.set_defaults(run=tokenize)
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--limit", type=int, default=480)
    p.add_argument("--out", type=Path, required=True)
    p = commands.add_parser("train", help="train with TRL's DPOTrainer")
    p.set_defaults(run=train)
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--eval", type=int, default=0, help="evaluate on the first so many pairs")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("settings", nargs="*")
    p = commands.add_parser("compare", help="compare every logged number, and the weights")
    p.set_defaults(run=compare)
    p.add_argument("--ours", type=Path, required=True)
    p.add_argument("--theirs", type=Path, required=True)
    p.add_argument("--tolerance", type=float, default=1e-3)
    p.add_argument("--weights", type=float, default=0.0)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
