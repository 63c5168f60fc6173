"""Writes expected.json beside this file: the learning rates of transformers' schedulers, step by step.

    pip install -r requirements.txt && python make_fixtures.py
"""

import json
from pathlib import Path

import torch
import transformers
from transformers import get_scheduler

PEAK, STEPS = 3e-5, 100

# (our name, transformers' name, warm-up steps, transformers' arguments)
ROWS = [
    ("constant", "constant", 0, {}),
    ("constant", "constant_with_warmup", 7, {}),
    ("constant_with_warmup", "constant_with_warmup", 7, {}),
    ("linear", "linear", 0, {}),
    ("linear", "linear", 13, {}),
    ("cosine", "cosine", 0, {}),
    ("cosine", "cosine", 10, {}),
    ("cosine_with_min_lr", "cosine_with_min_lr", 10, {"min_lr_rate": 0.1}),
    ("cosine_with_min_lr", "cosine_with_min_lr", 0, {"min_lr_rate": 0.25}),
    ("inverse_sqrt", "inverse_sqrt", 9, {}),
    ("inverse_sqrt", "inverse_sqrt", 0, {}),
    ("wsd", "warmup_stable_decay", 10, {"num_decay_steps": 20}),
    ("wsd", "warmup_stable_decay", 0, {"num_decay_steps": 35, "min_lr_ratio": 0.1}),
    ("wsd", "warmup_stable_decay", 5, {"num_decay_steps": 30, "min_lr_ratio": 0.2}),
    ("wsd", "warmup_stable_decay", 30, {"num_decay_steps": 90}),
]


def rates(name, warmup, arguments):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=STEPS,
        scheduler_specific_kwargs=arguments,
    )
    seen = []
    for _ in range(STEPS):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


expected = {
    "transformers": transformers.__version__,
    "peak": PEAK,
    "rows": [
        {
            "scheduler": ours, "warmup_steps": warmup,
            "min_lr_rate": arguments.get("min_lr_rate", arguments.get("min_lr_ratio", 0.0)),
            "decay_steps": arguments.get("num_decay_steps", 0),
            "rates": rates(theirs, warmup, arguments),
        }
        for ours, theirs, warmup, arguments in ROWS
    ],
}
(Path(__file__).resolve().parent / "expected.json").write_text(json.dumps(expected) + "\n")
