"""Checks that an adapter which this program wrote is one that PEFT reads, and that `merge` is PEFT's.

    check_peft.py RUN_DIR --base MODEL_DIR --binary target/release/gpt2-dpo

RUN_DIR is the output of `gpt2-dpo train --lora-rank`, or any folder with an adapter. Prints a line for each check; exits
with 1 if any failed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import GPT2LMHeadModel

LOGITS, MERGED, LOGPS = 1e-5, 1e-6, 1e-4
PAIRS, PROMPT, RESPONSE = 5, 7, 9


class Checks:
    """Prints each check as it is made and counts the failures."""

    def __init__(self):
        self.failed = 0

    def __call__(self, passed, what, detail=""):
        self.failed += not passed
        print(f"{'ok  ' if passed else 'FAIL'} {what}" + (f": {detail}" if detail else ""))


def load(base, adapter=None):
    """In float64, so that what differs is what the files say and not PyTorch's rounding."""
    model = GPT2LMHeadModel.from_pretrained(base, attn_implementation="eager")
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    return model.double().eval()


def draw_pairs(vocabulary):
    generator = torch.Generator().manual_seed(3)
    draw = lambda count: torch.randint(vocabulary, (count,), generator=generator).tolist()
    lengths = {"prompt_ids": PROMPT, "chosen_ids": RESPONSE, "rejected_ids": RESPONSE + 2}
    return [{key: draw(count) for key, count in lengths.items()} for _ in range(PAIRS)]


def mean_logps(model, pairs, side):
    sums = []
    for pair in pairs:
        ids = torch.tensor([pair["prompt_ids"] + pair[side]])
        logps = F.log_softmax(model(input_ids=ids).logits[0, :-1].double(), -1)
        sums.append(logps.gather(1, ids[0, 1:, None])[PROMPT - 1 :].sum())
    return torch.stack(sums).mean().item()


def largest(a, b):
    return (a - b).abs().max().item()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--binary", type=Path, required=True)
    args = parser.parse_args()
    check = Checks()
    with warnings.catch_warnings(record=True) as raised, torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("always")
        peft = load(args.base, args.run_dir)
        told = [str(w.message) for w in raised if "adapter" in str(w.message).lower()]
        check(not told, "PEFT loads the adapter without a warning", "; ".join(told))
        status = {(layer.active_adapters[0], layer.r["default"]) for layer in peft.modules() if hasattr(layer, "lora_A")}
        check(len(status) == 1, "all layers have one adapter of one rank", str(status))

        merged_dir = Path(folder) / "merged"
        run = lambda *options: subprocess.run(
            [args.binary, *map(str, options)], check=True, capture_output=True, text=True
        ).stdout
        run("merge", "--model", args.base, "--adapter", args.run_dir, "--out", merged_dir)
        ours = load(merged_dir)
        vocabulary = ours.config.vocab_size
        pairs = draw_pairs(vocabulary)
        ids = torch.tensor([pair["prompt_ids"] + pair["chosen_ids"] for pair in pairs])
        off = largest(peft(input_ids=ids).logits, ours(input_ids=ids).logits)
        check(off <= LOGITS, f"the merged model has PEFT's logits to {LOGITS:.0e}", f"{off:.1e}")

        data = Path(folder) / "pairs.jsonl"
        data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        judged = json.loads(run(
            "eval", "--device", "cpu", "--json", "--model", args.base, "--adapter", args.run_dir,
            "--reference", args.base, "--data", data,
        ))
        for side in ("chosen", "rejected"):
            theirs = mean_logps(peft, pairs, f"{side}_ids")
            off = abs(judged[f"eval_logps/{side}"] - theirs)
            check(off <= LOGPS, f"eval has PEFT's log-probs of the {side} responses to {LOGPS:.0e}", f"{off:.1e}")

        theirs = dict(peft.merge_and_unload().named_parameters())
        off = max(largest(p, theirs[name]) for name, p in ours.named_parameters())
        check(off <= MERGED, f"the merged weights are those of merge_and_unload to {MERGED:.0e}", f"{off:.1e}")
        before = dict(load(args.base).named_parameters())
        moved = sum(largest(p, before[name]) > 0 for name, p in theirs.items())
        check(moved > 0, f"{moved} weights are not the base's", "" if moved else "the adapter changes nothing")
    sys.exit(bool(check.failed))


if __name__ == "__main__":
    main()
