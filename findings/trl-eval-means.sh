#!/usr/bin/env bash
# TRL 1.16.0's DPOTrainer evaluates five pairs in batches of four and one: `eval_loss` is the mean over the five pairs,
# but `eval_rewards/margins` (and every other metric of its own) is the mean of the two batches' means, so that the last
# pair counts as much as the four before it. With one batch of five the loss is the same and the margin is not. So two
# evaluations of one model on one data set can be told apart by the batch size alone.
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
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

names = ["a", "b", "c", "d", "e", "</s>"]
words = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="a"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="</s>")
texts = [("a b", " c", " d e a"), ("c", " d", " e"), ("d a", " e e", " a"), ("e", " a b c", " d"), ("b", " e d c b a", " a")]
pairs = Dataset.from_list([{"prompt": p, "chosen": c, "rejected": r} for p, c, r in texts])

def evaluated(batch_size):
    config = GPT2Config(vocab_size=6, n_positions=16, n_embd=8, n_layer=1, n_head=2, bos_token_id=5, eos_token_id=5)
    torch.manual_seed(0)
    model, reference = GPT2LMHeadModel(config).eval(), GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.DPOTrainer(
            model=model, ref_model=reference, processing_class=tokenizer,
            args=trl.DPOConfig(
                output_dir=folder, use_cpu=True, report_to=[], bf16=False, per_device_eval_batch_size=batch_size,
            ),
            train_dataset=pairs, eval_dataset=pairs,
        )
        return trainer.evaluate()

one, two = evaluated(5), evaluated(4)
print("trl", trl.__version__, "torch", torch.__version__)
for name in ("eval_loss", "eval_rewards/margins"):
    print(name, "one batch of 5:", one[name], "batches of 4 and 1:", two[name])
assert abs(one["eval_loss"] - two["eval_loss"]) < 1e-6, "it has changed"
assert abs(one["eval_rewards/margins"] - two["eval_rewards/margins"]) > 1e-3, "it has changed"
PYTHON
