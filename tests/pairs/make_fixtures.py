"""Writes expected.json: the token ids of preference records as TRL has them.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python make_fixtures.py

Each case is a tokenizer folder (the starter's tokenizer.json with changes), a record and this program's
options. `joined` are the ids of TRL's own DPOTrainer._prepare_dataset; `apart` are those of its tokenizer for
the same texts, prompt and responses on their own, with the end-of-text token behind each response.

`folders` are cases by what else a model's folder may declare its tokens in: `files` stand beside the starter's
tokenizer.json with `added` tokens, or beside its vocab.json and merges.txt, where the `vocabulary` has more tokens.
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


def decoder(tokens):
    return {str(id): {key: value for key, value in special(id, text).items() if key != "id"} for id, text in tokens.items()}


def folders():
    end, start, stop = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
    config, special_map = "tokenizer_config.json", "special_tokens_map.json"
    slow = {"tokenizer_class": "GPT2Tokenizer", "bos_token": end, "unk_token": end}
    fast = {"tokenizer_class": "PreTrainedTokenizerFast"}
    one = conversational(["What does a frog say?"], "A frog says croak.", "Croak.")
    typed = conversational(["What is <|im_end|>?"], "A token.", "Croak.")
    chat = {**slow, "eos_token": stop, "chat_template": CHATML}
    declared = {0: end, 1024: start, 1025: stop}
    for name, changes, files, record in [
        ("an end-of-text of special_tokens_map.json", {"added": [start, stop]}, {special_map: {"eos_token": stop}}, FROG),
        ("an end-of-text by another name", {"added": ["</s>"]}, {config: {**fast, "eos_token": "</s>"}}, FROG),
        ("declared by added_tokens_decoder", {"vocabulary": [start, stop]},
         {config: {**chat, "added_tokens_decoder": decoder(declared)}}, one),
        ("declared by special_tokens_map.json", {"vocabulary": [start, stop]},
         {config: {**slow, "chat_template": CHATML},
          special_map: {"eos_token": stop, "additional_special_tokens": [start]}}, one),
        ("declared by added_tokens.json", {"vocabulary": []},
         {config: {**chat, "additional_special_tokens": [start]}, "added_tokens.json": {start: 1024, stop: 1025}}, one),
        ("add_prefix_space", {"vocabulary": []}, {config: {**slow, "eos_token": end, "add_prefix_space": True}}, FROG),
        ("add_bos_token", {"vocabulary": []}, {config: {**slow, "eos_token": end, "add_bos_token": True}}, FROG),
        ("chat_template.jinja", {"added": [start, stop]},
         {config: {**fast, "eos_token": stop}, "chat_template.jinja": CHATML}, one),
        ("a special token typed in a message", {"added": [start, stop]},
         {config: {**fast, "eos_token": stop}, "chat_template.jinja": CHATML}, typed),
    ]:
        yield name, changes, files, record


def write_folder(folder, starter, changes, files):
    """The starter's tokenizer with these changes, and these files beside it."""
    if "added" in changes:
        files = {"tokenizer.json": with_specials(starter, *changes["added"]), **files}
    else:
        vocabulary, merges = starter["model"]["vocab"], starter["model"]["merges"]
        more = {token: len(vocabulary) + at for at, token in enumerate(changes["vocabulary"])}
        lines = ["#version: 0.2", *(merge if isinstance(merge, str) else " ".join(merge) for merge in merges), ""]
        files = {"vocab.json": {**vocabulary, **more}, "merges.txt": "\n".join(lines), **files}
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def folder_ids(tokenizer, record):
    """As `apart_ids`; what a user types stays text, as the program has it unless told otherwise."""
    if record["prompt"] == FROG["prompt"]:
        return apart_ids(tokenizer, {**record, "prompt": CARD.replace("{prompt}", record["prompt"])})
    typed = record["prompt"][0]["content"]
    if "<|" not in typed:
        return apart_ids(tokenizer, record)
    # Tokenizes the message without its special tokens, and the template's text around it separately.
    ids = apart_ids(tokenizer, {**record, "prompt": [{"role": "user", "content": "\0"}]})
    mark = tokenizer("\0", add_special_tokens=False)["input_ids"]
    assert len(mark) == 1 and ids["prompt"].count(mark[0]) == 1
    at = ids["prompt"].index(mark[0])
    text = tokenizer(typed, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return {**ids, "prompt": ids["prompt"][:at] + text + ids["prompt"][at + 1 :]}


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
            # TRL has no template for plain text, so the prompt has the form of the card's template.
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
    beside = []
    for name, changes, files, record in folders():
        with tempfile.TemporaryDirectory() as folder:
            write_folder(Path(folder), starter, changes, files)
            tokenizer = AutoTokenizer.from_pretrained(folder)
        beside.append({"name": name, **changes, "files": files, "record": record, "ids": folder_ids(tokenizer, record)})
    versions = {library: importlib.metadata.version(library) for library in LIBRARIES}
    text = json.dumps({"versions": versions, "cases": out, "folders": beside}, ensure_ascii=False, indent=None)
    (HERE / "expected.json").write_text(text.replace('{"name"', '\n{"name"') + "\n")


if __name__ == "__main__":
    main()
