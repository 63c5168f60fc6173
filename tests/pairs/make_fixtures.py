"""Writes expected.json: the token ids of preference records as TRL has them.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python make_fixtures.py

Each case is a tokenizer folder (the starter's tokenizer.json with changes), a record and this program's
options. `joined` are the ids of TRL's own DPOTrainer._prepare_dataset; `apart` are those of its tokenizer for
the same texts, prompt and responses on their own, with the end-of-text token behind each response.
"""

import copy
import importlib.metadata
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

from datasets import Dataset
from transformers import AutoTokenizer
from trl import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

HERE = Path(__file__).parent
STARTER = HERE.parent.parent / "examples" / "starter"
LIBRARIES = ("transformers", "trl", "tokenizers", "datasets")

CARD = "User: {prompt}\nAssistant: "
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
BRACKETS = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[{{ message['content'] | trim }}]"
    "{% else %} {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)

FROG = {"prompt": "What does a frog say?", "chosen": "A frog says croak.", "rejected": "Croak."}
UMLAUT = {"prompt": "Größe?", "chosen": " two spaces  and\nlines", "rejected": "12345 \u732b"}


def special(id, content):
    return {
        "id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": False, "special": True,
    }


def with_specials(tokenizer, *contents):
    tokenizer = copy.deepcopy(tokenizer)
    first = max(tokenizer["model"]["vocab"].values()) + 1
    tokenizer["added_tokens"] += [special(first + i, text) for i, text in enumerate(contents)]
    return tokenizer


def with_begin(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    end = {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": end},
    }
    return tokenizer


def messages(*texts):
    roles = ["user", "assistant"] * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts)]


def conversational(prompt, chosen, rejected):
    return {
        "prompt": messages(*prompt),
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def cases(starter):
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    chatml = with_specials(starter, "<|im_start|>", "<|im_end|>")
    chatml_config = {**config, "eos_token": "<|im_end|>", "chat_template": CHATML}
    brackets_config = {**config, "bos_token": "<|endoftext|>", "chat_template": BRACKETS}
    talk = conversational(["Hi.", "Hello!", "What does a frog say?"], "A frog says croak.", "Croak.")
    one = conversational(["What does a frog say?"], "A frog says croak.", "Croak.")
    for name, tokenizer, tokenizer_config, record in [
        ("the card's template", starter, config, FROG),
        ("the card's template, other scripts", starter, config, UMLAUT),
        ("a begin token", with_begin(starter), config, FROG),
        ("an end-of-text of tokenizer_config.json", chatml, {**config, "eos_token": "<|im_end|>"}, FROG),
        ("a chat template", chatml, chatml_config, one),
        ("a chat template, several turns", chatml, chatml_config, talk),
        ("a chat template that writes the begin token", starter, brackets_config, one),
        ("a chat template with a begin token in the post-processor too", with_begin(starter), brackets_config, one),
    ]:
        yield name, tokenizer, tokenizer_config, record


def trl_ids(tokenizer, record):
    """What TRL's trainer makes of the record."""
    trainer = SimpleNamespace(_tokenizer=tokenizer)
    with tempfile.TemporaryDirectory() as out:
        args = DPOConfig(output_dir=out, max_length=None, use_cpu=True, bf16=False)
        data = DPOTrainer._prepare_dataset(trainer, Dataset.from_list([record]), tokenizer, args, "train")
    row = data[0]
    return {key: row[f"{key}_ids"] for key in ("prompt", "chosen", "rejected")}


def apart_ids(tokenizer, record):
    """Prompt and responses tokenized on their own, as the card's training did."""
    if isinstance(record["prompt"], str):
        prompt = record["prompt"]
        ids = {"prompt": tokenizer(prompt)["input_ids"]}
        for key in ("chosen", "rejected"):
            response = tokenizer(record[key], add_special_tokens=False)["input_ids"]
            ids[key] = response + [tokenizer.eos_token_id]
        return ids
    render = lambda turns, more: tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=more)
    prompt = render(record["prompt"], True)
    ids = {"prompt": tokenizer(prompt, add_special_tokens=False)["input_ids"]}
    for key in ("chosen", "rejected"):
        whole = render(record["prompt"] + record[key], False)
        assert whole.startswith(prompt)
        ids[key] = tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
    return ids


def main():
    starter = json.loads((STARTER / "tokenizer.json").read_text())
    out = []
    for name, tokenizer_json, config, record in cases(starter):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json))
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
            tokenizer = AutoTokenizer.from_pretrained(folder)
        theirs = dict(record)
        if isinstance(record["prompt"], str):
            # TRL has no template for plain text: the prompt is given as the card writes it.
            theirs["prompt"] = CARD.replace("{prompt}", record["prompt"])
        changes = {
            "added_tokens": tokenizer_json["added_tokens"],
            "post_processor": tokenizer_json["post_processor"],
            "config": config,
        }
        out.append(
            {
                "name": name, **changes, "record": record,
                "apart": apart_ids(tokenizer, theirs), "joined": trl_ids(tokenizer, theirs),
            }
        )
    versions = {library: importlib.metadata.version(library) for library in LIBRARIES}
    text = json.dumps({"versions": versions, "cases": out}, ensure_ascii=False, indent=None)
    (HERE / "expected.json").write_text(text.replace('{"name"', '\n{"name"') + "\n")


if __name__ == "__main__":
    main()
