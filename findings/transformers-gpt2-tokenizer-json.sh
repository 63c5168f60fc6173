#!/usr/bin/env bash
# transformers 5.23.0 reads a tokenizer.json beside a GPT-2 config.json in another way than the tokenizers library
# itself: its GPT2Tokenizer takes vocabulary and merges alone. `add_prefix_space: true` of the file has no effect,
# a vocabulary without <|endoftext|> gets one, past the model's last embedding row, and `add_bos_token` of
# tokenizer_config.json has none as soon as there is a tokenizer.json.
#
# Installs both in a temporary folder. Exits with 0 while it is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
"$folder/venv/bin/python" - "$folder" <<'PYTHON' 2>/dev/null
import json
import sys
from pathlib import Path

import tokenizers
import transformers
from tokenizers import decoders, models, pre_tokenizers
from transformers import AutoTokenizer

folder = Path(sys.argv[1]) / "model"
folder.mkdir()
letters = sorted(pre_tokenizers.ByteLevel.alphabet())
bpe = models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])
own = tokenizers.Tokenizer(bpe)
own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
own.decoder = decoders.ByteLevel()
own.save(str(folder / "tokenizer.json"))
(folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": 256}))
(folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": True}))

theirs = AutoTokenizer.from_pretrained(folder)
seen = {
    "tokenizers: tokens of 'ab'": (own.encode("ab").tokens, ["Ġ", "a", "b"]),
    "transformers: tokens of 'ab'": (theirs.convert_ids_to_tokens(theirs("ab").input_ids), ["a", "b"]),
    "transformers: tokens in all": (len(theirs), 257),
    "transformers: id of its begin token": (theirs.bos_token_id, 256),
}
print(f"transformers {transformers.__version__}, {type(theirs).__name__}; tokenizers {tokenizers.__version__}")
for what, (got, _) in seen.items():
    print(f"{what}: {got}")
assert all(got == expected for got, expected in seen.values()), "it has changed"
PYTHON
