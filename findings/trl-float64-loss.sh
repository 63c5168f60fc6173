#!/usr/bin/env bash
# TRL 1.16.0's DPOTrainer computes its loss in float32 even for a model in float64: its fused language-model head turns
# the hidden states and weights into float32, whatever they are. So a comparison with it ends at about 1e-7, and a check of
# gradients by differences at less, although every parameter is a float64. Nothing says so.
#
# Installs pinned packages in a temporary folder (some GB: torch). Exits with 0 while it is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    trl==1.16.0 torch==2.15.0 transformers==5.23.0 datasets==5.2.0
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import tempfile

import torch
import torch.nn.functional as F
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

torch.manual_seed(0)
config = GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2, bos_token_id=3, eos_token_id=3)
model = GPT2LMHeadModel(config).double().eval()
reference = GPT2LMHeadModel(config).double().eval()
words = Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "</s>": 3}, unk_token="a"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="</s>")
with tempfile.TemporaryDirectory() as folder:
    trainer = trl.DPOTrainer(
        model=model, ref_model=reference, processing_class=tokenizer,
        args=trl.DPOConfig(output_dir=folder, use_cpu=True, report_to=[], bf16=False, beta=0.1),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
    )
    ids = torch.randint(50, (2, 12))
    mask = torch.tensor([[0] * 4 + [1] * 8] * 2)
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask}
    theirs = trainer._compute_loss(trainer.model, given, return_outputs=False)

def gains(m):
    logps = F.log_softmax(m(input_ids=ids).logits[:, :-1], -1).gather(2, ids[:, 1:, None])[..., 0]
    return (logps * mask[:, 1:]).sum(1)

with torch.no_grad():
    chosen, rejected = gains(model) - gains(reference)
    plain = -F.logsigmoid(0.1 * (chosen - rejected))
print("trl", trl.__version__, "torch", torch.__version__)
print("parameters", next(trainer.model.parameters()).dtype, "loss", theirs.dtype)
print("loss", repr(theirs.item()), "plain float64", repr(plain.item()), "relative", abs(theirs.item() / plain.item() - 1))
assert theirs.dtype == torch.float32 and abs(theirs.item() / plain.item() - 1) > 1e-10, "it has changed"
PYTHON
