"""The plain PyTorch DPO loop that this program's runs are compared with.

    pytorch_dpo.py make-model --out DIR --tokenizer TOKDIR
    pytorch_dpo.py train --model DIR --data pairs.jsonl --steps 2 --json theirs.json
    pytorch_dpo.py compare --ours metrics.jsonl --theirs theirs.json

Pairs are taken in file order, dropout is off, the learning rate is constant, and nothing is clever: two
right-padded forwards and one backward a micro-batch.
"""

import argparse
import copy
import json
import platform
import shutil
import sys
import time
from itertools import islice
from pathlib import Path

EOS = 50256
TEMPLATE = "User: {prompt}\nAssistant: "


def make_model(args):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(args.seed)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(args.out)
    if args.tokenizer:
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(args.tokenizer / name, args.out / name)


def response_text(value):
    """A response is a string, or a list of messages that ends with the assistant's."""
    if isinstance(value, str):
        return value
    return [message["content"] for message in value if message["role"] == "assistant"][-1]


def read_pairs(path, tokenizer, max_prompt, max_response):
    """Yields (prompt ids, chosen ids, rejected ids); pairs with equal responses are dropped."""

    def encode(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def response_ids(text):
        ids = encode(text)[:max_response]
        return ids + [EOS] if len(ids) < max_response else ids

    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if not line.strip():
                continue
            row = json.loads(line)
            chosen, rejected = response_text(row["chosen"]), response_text(row["rejected"])
            if chosen != rejected:
                prompt = encode(TEMPLATE.format(prompt=row["prompt"]))[-max_prompt:]
                yield prompt, response_ids(chosen), response_ids(rejected)


def logp_sums(model, prompts, responses):
    """[pairs]: log-probability of each response, summed over its tokens."""
    import torch

    rows = [prompt + response for prompt, response in zip(prompts, responses)]
    width = max(map(len, rows))
    ids = torch.tensor([row + [EOS] * (width - len(row)) for row in rows])
    position = torch.arange(width)
    ends = torch.tensor([[len(row)] for row in rows])
    starts = torch.tensor([[len(prompt)] for prompt in prompts])
    logits = model(input_ids=ids, attention_mask=(position < ends).long()).logits
    logps = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
    # Column t of logps belongs to token t + 1.
    in_response = ((position >= starts) & (position < ends))[:, 1:]
    return (logps * in_response).sum(1)


def train_step(policy, reference, optimizer, pairs, args):
    """One optimizer step over `pairs`, in micro-batches; returns its metrics."""
    import torch
    import torch.nn.functional as F

    optimizer.zero_grad()
    loss_sum, margins, logps = 0.0, [], []
    for start in range(0, len(pairs), args.batch_size):
        prompts, chosen, rejected = zip(*pairs[start : start + args.batch_size])
        with torch.no_grad():
            reference_chosen = logp_sums(reference, prompts, chosen)
            reference_rejected = logp_sums(reference, prompts, rejected)
        policy_chosen = logp_sums(policy, prompts, chosen)
        policy_rejected = logp_sums(policy, prompts, rejected)
        margin = args.beta * (
            (policy_chosen - policy_rejected) - (reference_chosen - reference_rejected)
        )
        # Divided by the pairs of the whole step, so that a short micro-batch has its proper weight.
        loss = -F.logsigmoid(margin).sum() / len(pairs)
        loss.backward()
        loss_sum += loss.item()
        margins.append(margin.detach())
        logps.append(torch.stack([policy_chosen, policy_rejected]).detach())
    norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), args.max_grad_norm)
    optimizer.step()

    margins, logps = torch.cat(margins), torch.cat(logps, dim=1)
    return {
        "loss": loss_sum,
        "grad_norm": norm.item(),
        "rewards/accuracies": (margins > 0).double().mean().item(),
        "rewards/margins": margins.mean().item(),
        "logps/chosen": logps[0].mean().item(),
        "logps/rejected": logps[1].mean().item(),
    }


def train(args):
    import torch
    import transformers
    from transformers import AutoTokenizer, GPT2LMHeadModel

    if args.threads:
        torch.set_num_threads(args.threads)
    dtype = {"f32": torch.float32, "f64": torch.float64}[args.dtype]
    # eval() turns dropout off; gradients still flow.
    policy = GPT2LMHeadModel.from_pretrained(args.model, dtype=dtype).eval()
    reference = copy.deepcopy(policy).requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    optimizer = torch.optim.AdamW(
        policy.parameters(), lr=args.learning_rate, betas=(0.9, 0.999), eps=1e-8,
        weight_decay=args.weight_decay,
    )
    pairs = read_pairs(args.data, tokenizer, args.max_prompt_tokens, args.max_response_tokens)
    step_pairs = args.batch_size * args.gradient_accumulation_steps

    steps = []
    for step in range(1, args.steps + 1):
        batch = list(islice(pairs, step_pairs))
        if not batch:
            sys.exit(f"{args.data} has pairs for {step - 1} steps, not for {args.steps}")
        began = time.perf_counter()
        record = {"step": step} | train_step(policy, reference, optimizer, batch, args)
        steps.append(record | {"seconds": time.perf_counter() - began})
        print(json.dumps(steps[-1]), flush=True)
    if args.json:
        settings = {k: v for k, v in vars(args).items() if isinstance(v, (int, float, str))}
        versions = {
            "python": platform.python_version(), "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        result = {"settings": settings, "versions": versions, "steps": steps}
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def relative_difference(ours, theirs):
    """NaN or infinite where either is missing, null, NaN or infinite."""
    if ours is None or theirs is None:
        return float("nan")
    return abs(ours - theirs) / max(abs(theirs), 1e-30)


def compare(args):
    ours = {}
    for line in args.ours.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        # The file may also hold records of evaluations.
        if "loss" in record and "grad_norm" in record:
            ours[record["step"]] = record
    theirs = json.loads(args.theirs.read_text(encoding="utf-8"))["steps"]
    if not theirs:
        sys.exit(f"{args.theirs} has no steps")

    misses = 0
    for record in theirs:
        mine = ours.get(record["step"], {})
        for key in ("loss", "grad_norm"):
            difference = relative_difference(mine.get(key), record[key])
            # In this form of the comparison, NaN is a miss.
            passed = difference <= args.tolerance
            misses += not passed
            print(
                f"step {record['step']} {key}: ours {mine.get(key)} theirs {record[key]} "
                f"relative difference {difference:.2e} {'ok' if passed else 'MISS'}"
            )
    if misses:
        sys.exit(f"{misses} values differ by more than {args.tolerance}, or are missing")


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)

    p = commands.add_parser("make-model", help="write a GPT-2 (124M) with random weights")
    p.set_defaults(run=make_model)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--seed", type=int, default=13)
    p.add_argument("--tokenizer", type=Path, help="directory with vocab.json and merges.txt to copy")

    p = commands.add_parser("train", help="train, and print one JSON line a step")
    p.set_defaults(run=train)
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--steps", type=int, required=True)
    p.add_argument("--batch-size", type=int, default=4)
    p.add_argument("--gradient-accumulation-steps", type=int, default=4)
    p.add_argument("--beta", type=float, default=0.1)
    p.add_argument("--learning-rate", type=float, default=1e-5)
    p.add_argument("--max-grad-norm", type=float, default=1.0)
    p.add_argument("--max-prompt-tokens", type=int, default=96)
    p.add_argument("--max-response-tokens", type=int, default=64)
    p.add_argument("--weight-decay", type=float, default=0.01)
    p.add_argument("--dtype", choices=("f32", "f64"), default="f32")
    p.add_argument("--threads", type=int, help="CPU threads; PyTorch's choice if not given")
    p.add_argument("--json", type=Path, help="write settings, versions and all steps here")

    p = commands.add_parser("compare", help="hold our metrics to PyTorch's; exit 1 on a miss")
    p.set_defaults(run=compare)
    p.add_argument("--ours", type=Path, required=True, help="metrics.jsonl of a run")
    p.add_argument("--theirs", type=Path, required=True, help="what train --json wrote")
    p.add_argument("--tolerance", type=float, default=1e-4, help="largest relative difference")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_args()
    arguments.run(arguments)
