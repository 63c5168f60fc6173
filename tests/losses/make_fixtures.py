"""Writes expected.json beside this file: what TRL's DPOTrainer makes of the golden models and pairs, loss by loss.

    pip install -r requirements.txt && python make_fixtures.py

The loss is TRL's own `_compute_loss`, over all seven pairs of ../golden as one batch, with both models in float64. TRL's
head computes in float32 whatever the model's type; while it computes, float32 is another name of float64 here. Where the
trainer has no such loss, or ignores a setting, the row is a plain formula, and `formula` says so: label smoothing with
`sigmoid`, `dpop`, `simpo`, `orpo`, weights of pairs, means in place of sums.

Each row has the value and the metrics at the start, and for every parameter the gradient there and the parameter after
STEPS steps of AdamW, as a norm and as sums under SIGNS seeded rows of signs: a difference of relative size d moves such a
sum by about d times the norm. The keys' third of c_attn.bias is left out after training, as its gradient is noise.
"""

import contextlib
import json
import tempfile
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
import trl
from datasets import Dataset
from transformers import AutoTokenizer, GPT2LMHeadModel

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
LR, STEPS, MAX_NORM, WEIGHT_DECAY = 1e-4, 5, 1.0, 0.01
SIGNS = 3

# (losses as the option --loss takes them, other settings)
ROWS = [
    ("sigmoid", {}),
    ("sigmoid", {"label_smoothing": 0.1}),
    ("hinge", {}),
    ("ipo", {}),
    ("robust", {"label_smoothing": 0.1}),
    ("exo_pair", {"label_smoothing": 0.001}),
    ("nca_pair", {}),
    ("bco_pair", {}),
    ("sppo_hard", {}),
    ("apo_zero", {}),
    ("apo_down", {}),
    ("discopop", {}),
    ("sigmoid_norm", {"beta": 2.0}),
    ("sft", {}),
    # Of two tokens each, so that the policy and the reference do not rank the pairs alike.
    ("aot", {"tokens": 2}),
    ("aot", {"tokens": 2, "label_smoothing": 0.1}),
    ("aot_unpaired", {}),
    ("sigmoid", {"ld_alpha": 0.5}),
    ("ipo", {"ld_alpha": 0.0}),
    # Of few tokens each: e^gain multiplies the rounding of the log-probs.
    *[
        (losses, {"f_divergence_type": divergence, "tokens": 3} | more)
        for losses in ("sigmoid", "ipo", "sigmoid_norm")
        for divergence, more in [
            ("forward_kl", {}), ("js_divergence", {}),
            ("alpha_divergence", {}), ("alpha_divergence", {"f_alpha_divergence_coef": 2.0}),
        ]
    ],
    # The paper's 50 would multiply the rounding of log-probs as much.
    ("dpop", {"dpop_lambda": 5.0}),
    ("simpo", {"beta": 2.0}),
    ("simpo", {"beta": 2.0, "simpo_gamma": 1.0, "label_smoothing": 0.1}),
    ("orpo", {}),
    ("sigmoid", {"average_log_prob": True, "beta": 2.0}),
    ("sigmoid", {"weights": [1.0, 0.5, 2.0, 0.0, 1.0, 3.0, 0.25]}),
    ("sft", {"weights": [1.0, 0.5, 2.0, 0.0, 1.0, 3.0, 0.25]}),
    ("sigmoid=1,sft=0.2", {}),
    ("apo_zero=0.5,ipo=0.25,sft=2", {"beta": 0.3}),
]


def signs(count, row):
    """`count` signs, from a linear congruential generator over 64 bits that begins with `row`."""
    state, drawn = row, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        drawn.append(1.0 if state >> 63 else -1.0)
    return numpy.array(drawn)


def digits(value):
    """Ten digits, far more than the bounds of the tests."""
    return float(f"{value:.10g}")


def digest(values):
    flat = values.detach().double().numpy().reshape(-1)
    return {
        "norm": digits(numpy.linalg.norm(flat)),
        "sums": [digits(flat @ signs(flat.size, row)) for row in range(SIGNS)],
    }


def load(name):
    return GPT2LMHeadModel.from_pretrained(GOLDEN / name, attn_implementation="eager").double().eval()


# Settings that DPOConfig has under the same name.
TRL_SETTINGS = ("ld_alpha", "f_divergence_type", "f_alpha_divergence_coef")


def has_formula(losses, settings):
    """True if TRL's DPOTrainer has no such loss, or ignores one of the settings."""
    ignored = {"weights", "average_log_prob"} | ({"label_smoothing"} if losses == "sigmoid" else set())
    return losses in ("dpop", "simpo", "orpo") or bool(ignored & settings.keys())


def trainer_of(losses, settings, folder):
    if has_formula(losses, settings):
        losses, settings = "sigmoid", {}
    terms = [term.split("=") for term in losses.split(",")]
    args = trl.DPOConfig(
        output_dir=folder, use_cpu=True, report_to=[], disable_dropout=True, bf16=False,
        beta=settings.get("beta", 0.1), label_smoothing=settings.get("label_smoothing", 0.0),
        **{name: settings[name] for name in TRL_SETTINGS if name in settings},
        loss_type=[term[0] for term in terms],
        loss_weights=[float(term[1]) if len(term) > 1 else 1.0 for term in terms],
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    return trl.DPOTrainer(
        model=load("policy"), ref_model=load("reference"), args=args,
        processing_class=tokenizer, train_dataset=texts,
    )


def batch(pairs, side):
    rows = [pair["prompt_ids"] + pair[side] for pair in pairs]
    return rows, [[0] * len(p["prompt_ids"]) + [1] * len(p[side]) for p in pairs]


def inputs(pairs):
    """All pairs, the chosen first, padded on the right, as TRL's collator lays them out."""
    rows, masks = [], []
    for side in ("chosen_ids", "rejected_ids"):
        ids, mask = batch(pairs, side)
        rows, masks = rows + ids, masks + mask
    width = max(map(len, rows))
    pad = lambda values: torch.tensor([v + [0] * (width - len(v)) for v in values])
    return {
        "input_ids": pad(rows),
        "attention_mask": pad([[1] * len(row) for row in rows]),
        "completion_mask": pad(masks),
    }


def formula(losses, settings, trainer, model, pairs):
    """The losses that TRL lacks, from log-probs in float64; dpop: arXiv 2402.13228 eq. 3, simpo: 2405.14734 eq. 6,
    orpo: 2403.07691 eqs. 4, 6, 7."""
    given = inputs(pairs)
    mask = given["completion_mask"][:, 1:]
    chosen_len, rejected_len = mask.sum(1).chunk(2)

    def sums(model):
        logits = model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits
        logps = F.log_softmax(logits[:, :-1], -1).gather(2, given["input_ids"][:, 1:, None])[..., 0]
        return (logps * mask).sum(1)

    with torch.no_grad():
        reference = sums(trainer.ref_model)
    policy = sums(model)
    chosen, rejected = (policy - reference).chunk(2)
    chosen_logp, rejected_logp = policy.chunk(2)
    chosen_mean, rejected_mean = chosen_logp / chosen_len, rejected_logp / rejected_len
    beta, e = settings.get("beta", 0.1), settings.get("label_smoothing", 0.0)
    weights = torch.tensor(settings.get("weights", [1.0] * len(pairs)), dtype=torch.float64)
    if settings.get("average_log_prob"):
        chosen, rejected = chosen / chosen_len, rejected / rejected_len

    def smoothed(z):
        return -(1 - e) * F.logsigmoid(z) - e * F.logsigmoid(-z)

    if losses == "sft":
        return (weights * -chosen_logp).sum() / chosen_len.sum()
    if losses == "sigmoid":
        losses = smoothed(beta * (chosen - rejected))
    elif losses == "dpop":
        losses = smoothed(beta * (chosen - rejected - settings["dpop_lambda"] * torch.relu(-chosen)))
    elif losses == "simpo":
        losses = smoothed(beta * (chosen_mean - rejected_mean) - settings.get("simpo_gamma", 0.5))
    elif losses == "orpo":
        odds = lambda mean: mean - torch.log(-torch.expm1(mean))
        losses = -chosen_mean - beta * F.logsigmoid(odds(chosen_mean) - odds(rejected_mean))
    return (weights * losses).mean()


def make_row(losses, settings, pairs, folder):
    if "tokens" in settings:
        sides = "chosen_ids", "rejected_ids"
        pairs = [pair | {side: pair[side][: settings["tokens"]] for side in sides} for pair in pairs]
    trainer = trainer_of(losses, settings, folder)
    model = trainer.model
    by_formula = has_formula(losses, settings)

    def loss_of():
        if by_formula:
            return formula(losses, settings, trainer, model, pairs)
        return trainer._compute_loss(model, inputs(pairs), return_outputs=False)

    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    row = {"loss": losses, "settings": settings, "formula": by_formula}
    values, norms = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        with everything_in_float64():
            loss = loss_of()
            loss.backward()
        if step == 0:
            metrics = trainer._metrics["eval"]  # the mode of a model without dropout
            row["metrics"] = {
                name: metrics[name][0] for name in metrics
                if name.startswith(("rewards/", "logps/", "logits/"))
                or name in ("entropy", "mean_token_accuracy")
            }
            row["gradients"] = {
                name.removeprefix("transformer."): digest(p.grad)
                for name, p in model.named_parameters()
            }
        values.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM).item())
        optimizer.step()
    row |= {"values": values, "grad_norms": norms, "after": {}}
    for name, p in model.named_parameters():
        p = p.detach().clone()
        if name.endswith("attn.c_attn.bias"):
            width = p.numel() // 3
            p[width : 2 * width] = 0
        row["after"][name.removeprefix("transformer.")] = digest(p)
    return row


@contextlib.contextmanager
def everything_in_float64():
    names = (torch, "float32", torch.float64), (torch.Tensor, "float", torch.Tensor.double)
    before = [getattr(owner, name) for owner, name, _ in names]
    for owner, name, double in names:
        setattr(owner, name, double)
    try:
        yield
    finally:
        for (owner, name, _), single in zip(names, before):
            setattr(owner, name, single)


def main():
    torch.set_num_threads(1)
    pairs = [json.loads(line) for line in (GOLDEN / "pairs.jsonl").read_text().splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        # The trainer wants texts and a tokenizer; its loss sees the golden ids alone.
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast

        words = {word: i for i, word in enumerate(["a", "b", "c", "</s>"])}
        PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="a")),
            eos_token="</s>", pad_token="</s>",
        ).save_pretrained(folder)
        rows = [make_row(losses, settings, pairs, folder) for losses, settings in ROWS]
    expected = {
        "versions": {
            "trl": trl.__version__, "torch": torch.__version__.split("+")[0], "numpy": numpy.__version__,
        },
        "lr": LR, "weight_decay": WEIGHT_DECAY, "max_grad_norm": MAX_NORM,
        "rows": rows,
    }
    rows = ",\n".join(json.dumps(row) for row in expected.pop("rows"))
    head = json.dumps(expected)[:-1]
    (HERE / "expected.json").write_text(f'{head}, "rows": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
