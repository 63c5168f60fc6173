"""Writes the fixtures beside this file: adapters that PEFT saves of the golden policy, and what PyTorch makes of them.

    pip install -r requirements.txt && python make_fixtures.py

The base is ../golden/policy and the pairs are ../golden/pairs.jsonl. A and B are random, none of them 0. All arithmetic is
in float64, and tensors are stored as float32. A second run on the same machine writes the same bytes.

all/, part/     as `save_pretrained` writes them
expected.json   settings, losses and gradient norms of STEPS steps of AdamW on the adapter `all`, each over all pairs; the
                reference is the base without the adapter
expected.safetensors
    {adapter}.logits        [T, V], prompt + chosen of pair 0
    {adapter}.merged.{name} some weights after `merge_and_unload`
    after.{name}            the tensors of `all` after the steps, under the names and in the shapes of PEFT's file
"""

import json
import os
import platform
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import peft
import torch
import torch.nn.functional as F
import transformers
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import GPT2LMHeadModel

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
SEED, SPREAD = 5, 0.1
BETA, LR, STEPS, MAX_NORM = 0.1, 1e-3, 10, 0.34
BETAS, EPS, WEIGHT_DECAY = (0.9, 0.999), 1e-8, 0.01

ADAPTERS = {
    "all": LoraConfig(
        r=4, lora_alpha=6, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True,
        task_type="CAUSAL_LM",
    ),
    # One layer by its number, some of its parts, rsLoRA, and a rank that divides nothing.
    "part": LoraConfig(
        r=3, lora_alpha=2.5, target_modules=["c_attn", "mlp.c_proj"], layers_to_transform=[1],
        use_rslora=True, fan_in_fan_out=True, lora_dropout=0.05, task_type="CAUSAL_LM",
    ),
}
MERGED = {
    "all": ["h.0.attn.c_proj.weight", "h.0.mlp.c_fc.weight"],
    "part": ["h.0.attn.c_attn.weight", "h.1.attn.c_attn.weight", "h.1.mlp.c_proj.weight"],
}


def base():
    model = GPT2LMHeadModel.from_pretrained(GOLDEN / "policy", attn_implementation="eager")
    return model.double().eval()


def make_adapter(name, generator):
    model = get_peft_model(base(), ADAPTERS[name])
    with torch.no_grad():
        for key, p in sorted(model.named_parameters()):
            if "lora_" in key:
                p.copy_(SPREAD * torch.randn(p.shape, generator=generator))
    model.float().save_pretrained(HERE / name)
    (HERE / name / "README.md").unlink()
    config = HERE / name / "adapter_config.json"
    said = json.loads(config.read_text())
    said["base_model_name_or_path"] = "../golden/policy"
    # PEFT keeps them as a set, whose order changes from run to run.
    said["target_modules"].sort()
    config.write_text(json.dumps(said, indent=2))


def load(name, trainable=False):
    model = PeftModel.from_pretrained(base(), HERE / name, is_trainable=trainable)
    return model.double().eval()


def response_logps(model, pairs, side):
    rows = [pair["prompt_ids"] + pair[side] for pair in pairs]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    logits = model(input_ids=ids, attention_mask=mask).logits
    logps = F.log_softmax(logits[:, :-1], dim=-1).gather(2, ids[:, 1:, None]).squeeze(2)
    # Column t of logps belongs to token t + 1.
    return torch.stack([
        logps[i, len(pair["prompt_ids"]) - 1 : len(rows[i]) - 1].sum()
        for i, pair in enumerate(pairs)
    ])


def logps(model, pairs):
    """[2, pairs]: chosen, rejected."""
    return torch.stack([response_logps(model, pairs, side) for side in ("chosen_ids", "rejected_ids")])


def train(model, pairs):
    with torch.no_grad(), model.disable_adapter():
        reference = logps(model, pairs)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        chosen, rejected = BETA * (logps(model, pairs) - reference)
        loss = -F.logsigmoid(chosen - rejected).mean()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(trained, MAX_NORM).item())
        losses.append(loss.item())
        optimizer.step()
    return losses, norms


def main():
    warnings.simplefilter("ignore", FutureWarning)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    pairs = [json.loads(line) for line in (GOLDEN / "pairs.jsonl").read_text().splitlines()]
    ids = torch.tensor([pairs[0]["prompt_ids"] + pairs[0]["chosen_ids"]])

    tensors = {}
    for name in ADAPTERS:
        make_adapter(name, generator)
        model = load(name)
        with torch.no_grad():
            tensors[f"{name}.logits"] = model(input_ids=ids).logits[0]
        merged = dict(model.merge_and_unload().named_parameters())
        for key in MERGED[name]:
            tensors[f"{name}.merged.{key}"] = merged[f"transformer.{key}"].detach()

    model = load("all", trainable=True)
    losses, norms = train(model, pairs)
    assert min(norms) < MAX_NORM < max(norms), f"clipping is always on or always off: {norms}"
    tensors |= {f"after.{key}": p for key, p in get_peft_model_state_dict(model).items()}
    expected = {
        "settings": {
            "seed": SEED, "beta": BETA, "lr": LR, "steps": STEPS, "max_grad_norm": MAX_NORM,
            "betas": BETAS, "eps": EPS, "weight_decay": WEIGHT_DECAY,
        },
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__, "peft": peft.__version__,
        },
        "losses": losses,
        "grad_norms": norms,
    }
    (HERE / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    save_file(
        {name: t.detach().float().contiguous() for name, t in tensors.items()},
        HERE / "expected.safetensors",
    )


if __name__ == "__main__":
    main()
