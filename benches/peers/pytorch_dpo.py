"""The optimizer step of gpt2-dpo in plain PyTorch, made as fast as PyTorch is: what ours is timed against.

    pytorch_dpo.py make --preset gpt2 --out DIR --pairs 32
    pytorch_dpo.py run --model DIR --data DIR/pairs.jsonl --steps 5 --json theirs.json
    pytorch_dpo.py run ... --device cuda --precision bf16 --compile default
    pytorch_dpo.py check --model DIR --data DIR/pairs.jsonl

`make` writes a GPT-2 with random weights and pairs of random token ids, which both sides then read: same
weights, same tokens, same order. `run` needs torch alone. `check` holds the model below to transformers'.

A step is what the recipe says: micro-batches of pairs, chosen and rejected right-padded and concatenated into
one forward (as TRL does; the prompt is computed twice), one backward each, clipping, AdamW. PyTorch gets
fused AdamW, scaled_dot_product_attention without a mask (padding stands on the right, where causal attention
does not look), batches that lie on the device already, and no synchronisation inside a step.
Dropout is off and the learning rate constant, as in gpt2-dpo.
"""

import argparse
import contextlib
import copy
import json
import math
import platform
import resource
import statistics
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

# A published size, the small model of the benchmarks, and one for trials of the scripts.
PRESETS = {
    "gpt2": {"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257},
    "small": {"n_layer": 4, "n_embd": 256, "n_head": 4, "vocab_size": 8192},
    "tiny": {"n_layer": 2, "n_embd": 64, "n_head": 2, "vocab_size": 512},
}
N_POSITIONS = 1024
PREFIX = "transformer."
SPREAD = 0.02  # standard deviation of the random weights: GPT-2's own


# The model: Hugging Face's names, matrices stored as [out, in].


class Block(nn.Module):
    def __init__(self, width, heads, inner, epsilon):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width, epsilon)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(width, 3 * width), "c_proj": nn.Linear(width, width)})
        self.ln_2 = nn.LayerNorm(width, epsilon)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, inner), "c_proj": nn.Linear(inner, width)})

    def forward(self, x):  # [B, T, C]
        b, t, c = x.shape
        qkv = self.attn["c_attn"](self.ln_1(x)).view(b, t, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, T, C / heads]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["c_proj"](y.transpose(1, 2).reshape(b, t, c))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, epsilon = config["n_embd"], config["layer_norm_epsilon"]
        inner = config.get("n_inner") or 4 * width
        self.wte = nn.Embedding(config["vocab_size"], width)
        self.wpe = nn.Embedding(config["n_positions"], width)
        blocks = [Block(width, config["n_head"], inner, epsilon) for _ in range(config["n_layer"])]
        self.h = nn.ModuleList(blocks)
        self.ln_f = nn.LayerNorm(width, epsilon)

    def forward(self, ids):
        """[B, T] token ids → [B, T, C], before the last layernorm."""
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        for block in self.h:
            x = block(x)
        return x

    def logits(self, x):
        """[..., C] → [..., V] by the tied head."""
        return F.linear(self.ln_f(x), self.wte.weight)


def is_matrix(name):
    """Hugging Face stores these as [in, out]."""
    return ".c_" in name and name.endswith("weight")


def load_model(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        model = GPT2(config)
    stored = read_safetensors(folder / "model.safetensors")
    state = {}
    for name, tensor in stored.items():
        name = name.removeprefix(PREFIX)
        state[name] = (tensor.t() if is_matrix(name) else tensor).float().clone(
            memory_format=torch.contiguous_format
        )
    model.load_state_dict(state, assign=True)
    return model


def read_safetensors(path):
    """{name: tensor}, F32 only: eight bytes of length, a JSON header, the data."""
    size = int.from_bytes(path.open("rb").read(8), "little")
    data = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    header = json.loads(bytes(data[8 : 8 + size].tolist()))
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] != "F32":
            sys.exit(f"{path}: {name} is {entry['dtype']}, not F32")
        begin, end = entry["data_offsets"]
        values = data[8 + size + begin : 8 + size + end].view(torch.float32)
        tensors[name] = values.view(entry["shape"])
    return tensors


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        end = offset + 4 * tensor.numel()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            out.write(memoryview(tensor.contiguous().view(torch.uint8).flatten().numpy()))


# make


def make(args):
    sizes = PRESETS[args.preset]
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
        "n_positions": N_POSITIONS, "n_inner": 4 * sizes["n_embd"], "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True, "bos_token_id": sizes["vocab_size"] - 1,
        "eos_token_id": sizes["vocab_size"] - 1,
    } | sizes
    generator = torch.Generator().manual_seed(args.seed)
    tensors = {}
    for name, shape in GPT2(config).state_dict().items():
        shape = shape.shape[::-1] if is_matrix(name) else shape.shape
        values = SPREAD * torch.randn(shape, generator=generator)
        if name.endswith("c_proj.weight"):
            values /= math.sqrt(2 * sizes["n_layer"])
        if "ln_" in name and name.endswith("weight"):
            values += 1.0
        tensors[PREFIX + name] = values
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_safetensors(args.out / "model.safetensors", tensors)

    lengths = {
        "prompt_ids": args.prompt_tokens, "chosen_ids": args.response_tokens,
        "rejected_ids": args.response_tokens,
    }
    with (args.out / "pairs.jsonl").open("w") as out:
        for _ in range(args.pairs):
            pair = {
                key: torch.randint(sizes["vocab_size"], (length,), generator=generator).tolist()
                for key, length in lengths.items()
            }
            out.write(json.dumps(pair) + "\n")


# run


class Batch:
    """A micro-batch on the device: the chosen sequences of its pairs, then the rejected ones."""

    def __init__(self, pairs, device):
        prompts = [pair["prompt_ids"] for pair in pairs] * 2
        responses = [pair["chosen_ids"] for pair in pairs] + [pair["rejected_ids"] for pair in pairs]
        sequences = [prompt + response for prompt, response in zip(prompts, responses)]
        width = max(map(len, sequences))
        longest = max(map(len, responses))
        # The row before a token predicts it. Response rows are padded by repeating the first.
        rows = [
            [i * width + len(p) - 1 + (j if j < len(r) else 0) for j in range(longest)]
            for i, (p, r) in enumerate(zip(prompts, responses))
        ]
        self.ids = torch.tensor([s + [0] * (width - len(s)) for s in sequences], device=device)  # [2P, T]
        self.rows = torch.tensor(rows, device=device).flatten()  # [2P * R], into [2P * T]
        self.targets = torch.tensor([r + [0] * (longest - len(r)) for r in responses], device=device).flatten()
        self.mask = torch.tensor(
            [[1.0] * len(r) + [0.0] * (longest - len(r)) for r in responses], device=device
        )  # [2P, R]
        starts = torch.tensor([len(p) for p in prompts], device=device)[:, None]
        ends = torch.tensor([len(s) for s in sequences], device=device)[:, None]
        position = torch.arange(width, device=device)
        # Column t of the log-probs belongs to token t + 1.
        self.response = ((position >= starts) & (position < ends))[:, 1:].float()  # [2P, T - 1]


def logps_full(model, batch):
    """[2P]: the response's log-probability, by way of the logits of all positions."""
    logits = model.logits(model(batch.ids))
    logps = logits[:, :-1].log_softmax(-1).gather(2, batch.ids[:, 1:, None]).squeeze(2)
    return (logps * batch.response).sum(1)


def logps_response(model, batch):
    """[2P]: the same, with the head on the rows that predict a response token only."""
    x = model(batch.ids).flatten(0, 1)[batch.rows]
    logps = -F.cross_entropy(model.logits(x), batch.targets, reduction="none")
    return (logps.view(batch.mask.shape) * batch.mask).sum(1)


LOGPS = {"full": logps_full, "response": logps_response}


def dpo_loss(logps, reference, beta, step_pairs):
    """Summed over the micro-batch and divided by the pairs of the whole step."""
    chosen, rejected = (logps - reference).chunk(2)
    return -F.logsigmoid(beta * (chosen - rejected)).sum() / step_pairs


class Loop:
    """Policy, reference and optimizer, and the functions of a step, compiled or not."""

    def __init__(self, args, device):
        self.args = args
        self.policy = load_model(args.model).to(device)
        on_the_fly = args.reference == "on-the-fly"
        self.frozen = copy.deepcopy(self.policy).requires_grad_(False) if on_the_fly else None
        self.optimizer = torch.optim.AdamW(
            self.policy.parameters(), lr=args.learning_rate, betas=(0.9, 0.999), eps=1e-8,
            weight_decay=args.weight_decay, fused=True,
        )
        self.step_pairs = args.batch_size * args.gradient_accumulation_steps
        logps = LOGPS[args.logits]

        def loss(batch, reference):
            with self.autocast(device):
                return dpo_loss(logps(self.policy, batch), reference, args.beta, self.step_pairs)

        # torch.compile does not take the faster of the two everywhere.
        no_grad = torch.inference_mode if args.compile == "off" else torch.no_grad

        def reference(model, batch):
            with no_grad(), self.autocast(device):
                return logps(model, batch)

        compiled = {} if args.compile == "off" else {"mode": args.compile, "dynamic": False}
        self.loss = torch.compile(loss, **compiled) if compiled else loss
        self.reference_logps = torch.compile(reference, **compiled) if compiled else reference

    def autocast(self, device):
        if self.args.precision == "bf16":
            return torch.autocast(device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def reference(self, batch):
        """[2P]: the frozen model's log-probabilities, which for the cached mode is the untrained policy."""
        # A copy: a compiled function may write its next result over this one, and what inference mode
        # made takes no part in a backward pass.
        return self.reference_logps(self.frozen or self.policy, batch).clone()

    def step(self, batches):
        """One optimizer step over (batch, its reference log-probs or None); loss and gradient norm, on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for batch, reference in batches:
            loss = self.loss(batch, self.reference(batch) if reference is None else reference)
            loss.backward()
            losses.append(loss.detach().clone())
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.args.max_grad_norm)
        self.optimizer.step()
        return torch.stack(losses).sum(), norm


class Clock:
    """Times between marks, without stopping a GPU for it."""

    def __init__(self, device):
        self.cuda = device.type == "cuda"
        self.marks = []

    def mark(self):
        if self.cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def seconds(self):
        pairs = list(zip(self.marks, self.marks[1:]))
        if self.cuda:
            torch.cuda.synchronize()
            return [a.elapsed_time(b) / 1000 for a, b in pairs]
        return [b - a for a, b in pairs]


def resident_bytes():
    """Of this process now; 0 where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def peak_memory_bytes(device, before):
    """What tensors took at most on a GPU; on the CPU what the process grew by."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before


def read_pairs(path):
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def run(args):
    began = time.perf_counter()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision("high" if args.precision == "tf32" else "highest")
    device = torch.device(args.device)
    before = resident_bytes()
    loop = Loop(args, device)
    pairs = read_pairs(args.data)
    if not pairs or len(pairs) % loop.step_pairs:
        sys.exit(f"{args.data} has {len(pairs)} pairs, which is not a number of whole steps of {loop.step_pairs}")
    batches = [Batch(pairs[i : i + args.batch_size], device) for i in range(0, len(pairs), args.batch_size)]

    clock = Clock(device)
    clock.mark()
    references = [None] * len(batches)
    if args.reference == "cached":
        references = [loop.reference(batch) for batch in batches]
    clock.mark()
    # The pairs again and again, in file order, micro-batch by micro-batch.
    stream = cycle(zip(batches, references))
    results = []
    for _ in range(args.steps):
        results.append(loop.step(islice(stream, args.gradient_accumulation_steps)))
        clock.mark()

    reference_seconds, *seconds = clock.seconds()
    steps = [
        {"step": i + 1, "loss": loss.item(), "grad_norm": norm.item(), "seconds": took}
        for i, ((loss, norm), took) in enumerate(zip(results, seconds))
    ]
    median = statistics.median(seconds[args.warmup_steps :])
    tokens_per_pair = sum(len(ids) for pair in pairs for ids in pair.values()) / len(pairs)
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k != "command"}
    result = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU",
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "settings": settings,
        "seconds_per_step": median,
        "pairs_per_second": loop.step_pairs / median,
        # Those of prompt and responses, each counted once.
        "tokens_per_second": loop.step_pairs * tokens_per_pair / median,
        "reference_seconds": reference_seconds,
        "peak_memory_bytes": peak_memory_bytes(device, before),
        "wall_seconds": time.perf_counter() - began,
        "steps": steps,
    }
    text = json.dumps(result, indent=2)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)


# check


def check(args):
    """The model above against transformers' GPT2LMHeadModel, and the two ways to the log-probabilities."""
    from transformers import GPT2LMHeadModel

    theirs = GPT2LMHeadModel.from_pretrained(args.model).eval()
    model = load_model(args.model)
    batch = Batch(read_pairs(args.data)[:2], torch.device("cpu"))
    with torch.inference_mode():
        expected = theirs(batch.ids).logits
        actual = model.logits(model(batch.ids))
        difference = ((actual - expected).norm() / expected.norm()).item()
        full, response = (LOGPS[name](model, batch) for name in ("full", "response"))
        between = ((full - response).abs().max() / full.abs().max()).item()
    print(f"logits from transformers', relative L2: {difference:.1e}")
    print(f"log-probs, full from response, relative: {between:.1e}")
    if not (difference <= 1e-5 and between <= 1e-5):
        sys.exit("they differ by more than 1e-5")


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)

    p = commands.add_parser("make", help="write a model with random weights, and pairs of random ids")
    p.set_defaults(command=make)
    p.add_argument("--preset", choices=PRESETS, default="gpt2")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--pairs", type=int, default=32)
    p.add_argument("--prompt-tokens", type=int, default=96)
    p.add_argument("--response-tokens", type=int, default=64)
    p.add_argument("--seed", type=int, default=13)

    p = commands.add_parser("run", help="train for some steps and write how long each took")
    p.set_defaults(command=run)
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--data", type=Path, required=True, help="JSONL of prompt_ids, chosen_ids, rejected_ids")
    p.add_argument("--steps", type=int, default=5, help="all of them, warm-up included")
    p.add_argument("--warmup-steps", type=int, default=1, help="left out of the median")
    p.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    p.add_argument("--precision", choices=("f32", "tf32", "bf16"), default="f32")
    p.add_argument(
        "--compile", choices=("off", "default", "reduce-overhead", "max-autotune"), default="off",
        help="mode of torch.compile",
    )
    p.add_argument("--logits", choices=LOGPS, default="response", help="of which positions")
    p.add_argument(
        "--reference", choices=("cached", "on-the-fly"), default="cached",
        help="before the first step, which is not in the median, or in each step",
    )
    p.add_argument("--threads", type=int, help="CPU threads; PyTorch's choice if not given")
    p.add_argument("--batch-size", type=int, default=4)
    p.add_argument("--gradient-accumulation-steps", type=int, default=4)
    p.add_argument("--beta", type=float, default=0.1)
    p.add_argument("--learning-rate", type=float, default=1e-5)
    p.add_argument("--weight-decay", type=float, default=0.01)
    p.add_argument("--max-grad-norm", type=float, default=1.0)
    p.add_argument("--json", type=Path)

    p = commands.add_parser("check", help="hold the model to transformers' (which must be installed)")
    p.set_defaults(command=check)
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    if getattr(args, "warmup_steps", 0) >= getattr(args, "steps", 1):
        parser.error("--steps must be more than --warmup-steps")
    return args


if __name__ == "__main__":
    arguments = parse_args()
    arguments.command(arguments)
