"""Writes the golden fixtures beside this file: two tiny GPT-2s, seven pairs, and what PyTorch makes of them.

    pip install -r requirements.txt && python make_fixtures.py

All arithmetic is in float64, with the plain padded forwards of TRL (chosen and rejected apart, padding
on the right, an attention mask). Tensors are stored as float32, scalars as they are. A second run on
the same machine writes the same bytes.

expected.safetensors (parameter names without `transformer.`; the head is tied to `wte` and not listed):
    logits.0                        [T, V], prompt + chosen of pair 0
    logps.{policy,reference}.{chosen,rejected}.{i}   [tokens of that response]
    grad.{name}                     of the DPO loss over all pairs at the initial policy, unclipped
    grad_sft.{name}                 of the SFT loss there
    after.{name}                    parameters after STEPS steps of AdamW, each over all pairs
"""

import json
import platform
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

HERE = Path(__file__).resolve().parent
SEED = 3
VOCAB, POSITIONS = 331, 48
BETA, LR, STEPS, MAX_NORM = 0.1, 1e-4, 10, 1.0
BETAS, EPS, WEIGHT_DECAY = (0.9, 0.999), 1e-8, 0.01
GREEDY_PAIR, GREEDY_TOKENS = 3, 16
# Between policy and reference, every weight moves by this share of its own spread.
REFERENCE_SHIFT = 0.5

# The numbers of tokens of (prompt, chosen, rejected). Pair 4 fills the last position.
LENGTHS = [(5, 11, 7), (1, 9, 4), (13, 1, 6), (7, 3, 29), (17, 31, 5), (9, 2, 3), (11, 8, 15)]

NOTES = [
    "The key third of every c_attn.bias has gradient zero, because softmax ignores what all keys share. "
    "What is stored there is rounding noise, and Adam divides noise by its own size: compare those "
    "gradients absolutely, and expect after.* to differ there by up to lr * steps = 1e-3.",
    "The last row of wpe has gradient exactly zero: what stands at position 47 predicts nothing.",
]


def spread(name):
    """Standard deviation of a parameter's initial values.

    Large enough that gradients are well away from zero; chosen, like the seed, so that the gradient's
    norm starts above MAX_NORM and ends below it.
    """
    if "wpe" in name:
        return 0.3
    if "wte" in name or name.endswith("bias"):
        return 0.1
    return 0.2 if "ln_" in name else 0.15


@torch.no_grad()
def make_models(generator):
    """The policy, everything random, and a reference near it."""
    config = GPT2Config(
        vocab_size=VOCAB, n_positions=POSITIONS, n_embd=48, n_layer=2, n_head=3,
        bos_token_id=VOCAB - 1, eos_token_id=VOCAB - 1, attn_implementation="eager",
    )
    policy, reference = GPT2LMHeadModel(config), GPT2LMHeadModel(config)
    for (name, p), r in zip(policy.named_parameters(), reference.parameters()):
        gain = ".ln_" in name and name.endswith("weight")
        p.copy_(spread(name) * torch.randn(p.shape, generator=generator) + (1.0 if gain else 0.0))
        r.copy_(p + REFERENCE_SHIFT * spread(name) * torch.randn(p.shape, generator=generator))
    for model, folder in ((policy, "policy"), (reference, "reference")):
        model.save_pretrained(HERE / folder)
        (HERE / folder / "generation_config.json").unlink(missing_ok=True)
    return policy.double().eval(), reference.double().eval()


def make_pairs(generator):
    def draw(count):
        return torch.randint(VOCAB, (count,), generator=generator).tolist()

    keys = ("prompt_ids", "chosen_ids", "rejected_ids")
    pairs = [dict(zip(keys, map(draw, lengths))) for lengths in LENGTHS]
    # Repeated tokens, within a sequence and across the two responses.
    pairs[5] = {"prompt_ids": [7] * 9, "chosen_ids": [7, 7], "rejected_ids": [7, 7, 12]}
    # The first and the last id, at the ends of prompt and responses.
    first, last = 0, VOCAB - 1
    pairs[6]["prompt_ids"][0], pairs[6]["prompt_ids"][-1] = last, first
    pairs[6]["chosen_ids"][0], pairs[6]["chosen_ids"][-1] = first, last
    pairs[6]["rejected_ids"][0], pairs[6]["rejected_ids"][-1] = last, first
    return pairs


def response_logps(model, pairs, side):
    """Log-probabilities of the response tokens: one vector for each pair."""
    rows = [pair["prompt_ids"] + pair[side] for pair in pairs]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    logits = model(input_ids=ids, attention_mask=mask).logits
    logps = F.log_softmax(logits[:, :-1], dim=-1).gather(2, ids[:, 1:, None]).squeeze(2)
    # Column t of logps belongs to token t + 1.
    return [
        logps[i, len(pair["prompt_ids"]) - 1 : len(rows[i]) - 1] for i, pair in enumerate(pairs)
    ]


def logp_sums(model, pairs):
    """[2, pairs]: chosen, rejected."""
    return torch.stack([
        torch.stack([logps.sum() for logps in response_logps(model, pairs, side)])
        for side in ("chosen_ids", "rejected_ids")
    ])


def rewards(model, reference_sums, pairs):
    """[2, pairs]: beta times what the policy gained on the reference."""
    return BETA * (logp_sums(model, pairs) - reference_sums)


def dpo_loss(model, reference_sums, pairs):
    chosen, rejected = rewards(model, reference_sums, pairs)
    return -F.logsigmoid(chosen - rejected).mean()


def sft_loss(model, pairs):
    return -torch.cat(response_logps(model, pairs, "chosen_ids")).mean()


def short(name):
    return name.removeprefix("transformer.")


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {short(name): p.grad.clone() for name, p in model.named_parameters()}


@torch.no_grad()
def greedy(model, prompt):
    """The continuation's ids and the smallest lead of a winner over its runner-up, in logits."""
    ids, lead = list(prompt), float("inf")
    for _ in range(GREEDY_TOKENS):
        top = model(input_ids=torch.tensor([ids])).logits[0, -1].topk(2)
        lead = min(lead, (top.values[0] - top.values[1]).item())
        ids.append(top.indices[0].item())
    return ids[len(prompt):], lead


def train(model, reference_sums, pairs):
    """Losses and gradient norms (before clipping) of STEPS steps."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY
    )
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = dpo_loss(model, reference_sums, pairs)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM).item())
        losses.append(loss.item())
        optimizer.step()
    return losses, norms


def metrics(model, reference_sums, pairs):
    """What an evaluation reports, and the same pair by pair."""
    with torch.no_grad():
        chosen, rejected = rewards(model, reference_sums, pairs)
        sums = logp_sums(model, pairs)
        loss = dpo_loss(model, reference_sums, pairs).item()
    margins = chosen - rejected
    return {
        "loss": loss,
        "rewards/chosen": chosen.mean().item(),
        "rewards/rejected": rejected.mean().item(),
        "rewards/margins": margins.mean().item(),
        "rewards/accuracies": (margins > 0).double().mean().item(),
        "logps/chosen": sums[0].mean().item(),
        "logps/rejected": sums[1].mean().item(),
        "per_pair": {
            "rewards/chosen": chosen.tolist(),
            "rewards/rejected": rejected.tolist(),
            "rewards/margins": margins.tolist(),
            "logps/chosen": sums[0].tolist(),
            "logps/rejected": sums[1].tolist(),
        },
    }


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(SEED)
    policy, reference = make_models(generator)
    pairs = make_pairs(generator)

    tensors = {}
    with torch.no_grad():
        reference_sums = logp_sums(reference, pairs)
        ids = pairs[0]["prompt_ids"] + pairs[0]["chosen_ids"]
        tensors["logits.0"] = policy(input_ids=torch.tensor([ids])).logits[0]
        for model, who in ((policy, "policy"), (reference, "reference")):
            for side in ("chosen", "rejected"):
                for i, logps in enumerate(response_logps(model, pairs, f"{side}_ids")):
                    tensors[f"logps.{who}.{side}.{i}"] = logps

    sft = sft_loss(policy, pairs)
    tensors |= {f"grad_sft.{name}": g for name, g in gradients(policy, sft).items()}
    dpo = dpo_loss(policy, reference_sums, pairs)
    tensors |= {f"grad.{name}": g for name, g in gradients(policy, dpo).items()}
    at_start = metrics(policy, reference_sums, pairs)
    greedy_ids, greedy_lead = greedy(policy, pairs[GREEDY_PAIR]["prompt_ids"])

    losses, norms = train(policy, reference_sums, pairs)
    assert min(norms) < MAX_NORM < max(norms), f"clipping is always on or always off: {norms}"
    tensors |= {f"after.{short(name)}": p.detach() for name, p in policy.named_parameters()}

    expected = {
        "settings": {
            "seed": SEED, "beta": BETA, "lr": LR, "steps": STEPS, "max_grad_norm": MAX_NORM,
            "betas": BETAS, "eps": EPS, "weight_decay": WEIGHT_DECAY,
        },
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__, "numpy": numpy.__version__,
        },
        "notes": NOTES,
        "losses": losses,
        "grad_norms": norms,
        "at_start": at_start,
        "after_training": metrics(policy, reference_sums, pairs),
        "sft_loss": sft.item(),
        "greedy": {"pair": GREEDY_PAIR, "ids": greedy_ids, "smallest_lead": greedy_lead},
    }
    (HERE / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    (HERE / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    save_file(
        {name: t.float().contiguous() for name, t in tensors.items()}, HERE / "expected.safetensors"
    )


if __name__ == "__main__":
    main()
