"""Writes expected.json beside this file: small tokenizer folders, and what transformers and TRL make of them.

    pip install -r requirements.txt && python make_fixtures.py

Every folder is a GPT-2's (config.json says so and no more) around one byte-level BPE of a few merges, made
here by hand; the folders differ in what their files declare. `texts` are contents of files and folders name
them, so that each is there once. A second run writes the same bytes.

For every folder:
    class               the class of AutoTokenizer.from_pretrained
    named, extra        special tokens with a role, and without
    size                highest id + 1
    ids                 for each of SAMPLES: `encode` with nothing added and how many `special` tokens it found;
                        where they differ from it, `whole` as tokenizer(text) has it, and `split` with
                        split_special_tokens=True
    guarded             for each of CHATS: the ids with the template's special tokens as tokens, the content's
                        as text
    trl                 prompt, chosen and rejected ids of PAIR as DPOTrainer prepares them
    template            the chat template, and the one for tools
"""

import json
import os
import platform
import tempfile
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import tokenizers
import transformers
import trl
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer
from trl.data_utils import _tokenize, common_prefix_length

HERE = Path(__file__).resolve().parent

END, START, STOP, BYE = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "</s>"
MERGES = ["h e", "l l", "he ll", "hell o", "# #", "Ġ t", "Ġt he", "o g", "r og", "Ġ f", "Ġf rog", "e r", "Ċ Ċ"]
SAMPLES = [
    "hello the frog",
    " hello\n\nworld, wörld 🐸 ## ###",
    f"{START}user\nhello{STOP}\n{START}assistant\n{BYE}{END}",
    f"hello  {STOP}  hello{END}hello\t{BYE} \n x{START}",
    "<tool> a<tool> <tool>b <TOOL> <a>b a>b <|IM_END|>",
    "[PAD]hello [PAD] <image><foo>",
    "",
]
# The parts alternate: the template's text, then a message's content, and so on.
CHATS = [
    [f"{START}user\n", "hello the frog", f"{STOP}\n{START}assistant\n"],
    [f"{START}user\n", f"what is {STOP} and {END}?{BYE}", f"{STOP}\n{START}assistant\n", f" {START} {STOP}", STOP],
    ["", f"{STOP} {STOP}", "", f"hel{STOP}", "lo"],
    [f"hel", "lo", f" the", f" frog  {STOP}", f"  {STOP}  ", f"  hello{END}", END],
    ["", "\ufdd0\ufdd1\ufdd2 \ufdd0" + STOP + "\ufdd1" + END + "\ufdd3", STOP],
    ["", "<tool> <a>b <|IM_END|> [PAD]", "<tool>", "<image>", ""],
]
PAIR = ("User: hello the frog\nAssistant: ", "hello", "the frog\n\n")


def vocab(*more):
    """GPT-2's 256 bytes, the merges, and `more` at the end."""
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens += [merge.replace(" ", "") for merge in MERGES]
    return {token: id for id, token in enumerate([*tokens, *more])}


def special(content, **kwargs):
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {"content": content, **plain, **kwargs}


def tokenizer_json(more=(END,), added=(END,), **parts):
    """A tokenizer.json; `parts` replace its own."""
    whole = Tokenizer(models.BPE(vocab=vocab(*more), merges=[tuple(merge.split()) for merge in MERGES]))
    whole.pre_tokenizer = parts.get("pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=False))
    whole.decoder = decoders.ByteLevel()
    if "normalizer" in parts:
        whole.normalizer = parts["normalizer"]
    whole.add_tokens([token if not isinstance(token, str) else tokenizers.AddedToken(token, special=True)
                      for token in added])
    if "post_processor" in parts:
        whole.post_processor = parts["post_processor"](whole)
    if "padding" in parts:
        whole.enable_padding(pad_id=0, pad_token=parts["padding"])
    return json.loads(whole.to_str())


def template(before=(), behind=()):
    def make(whole):
        tokens = [(token, whole.token_to_id(token)) for token in dict.fromkeys([*before, *behind])]
        return processors.TemplateProcessing(single=[*before, "$A", *behind], special_tokens=tokens)
    return make


def roberta(whole):
    ends = [(token, whole.token_to_id(token)) for token in (BYE, END)]
    return processors.RobertaProcessing(ends[0], ends[1], add_prefix_space=False)


def decoder(*tokens, at):
    return {str(at + offset): token for offset, token in enumerate(tokens)}


BASE = len(vocab())
CONFIG, SPECIAL, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
PLAIN = {"vocab.json": vocab(END), "merges.txt": "\n".join(["#version: 0.2", *MERGES, ""])}
CHAT = {**PLAIN, "vocab.json": vocab(END, START, STOP)}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
EOS = {"eos_token": END, "bos_token": END, "unk_token": END}


def folders():
    """The files of every folder, by its name."""
    yield "plain", PLAIN
    yield "no end-of-text", {**PLAIN, "vocab.json": vocab()}
    yield "another end-of-text", {**PLAIN, "vocab.json": vocab(BYE), CONFIG: {"eos_token": BYE}}
    yield "null roles", {**PLAIN, CONFIG: {"bos_token": None, "unk_token": None, "add_bos_token": True}}

    yield "declared in the vocabulary, by added_tokens_decoder", {**CHAT, CONFIG: {
        "added_tokens_decoder": decoder(special(END), special(START), special(STOP), at=BASE),
        "eos_token": STOP, "additional_special_tokens": [START, STOP], "tokenizer_class": "GPT2Tokenizer"}}
    yield "declared by additional_special_tokens", {**CHAT, CONFIG: {
        "additional_special_tokens": [START, STOP], "eos_token": END, "tokenizer_class": "GPT2TokenizerFast"}}
    yield "declared by a special_tokens_map", {**CHAT, SPECIAL: {
        "additional_special_tokens": [START], "eos_token": special(STOP, lstrip=True), "pad_token": "[PAD]"}}
    yield "special_tokens_map over config", {**CHAT, CONFIG: {
        "eos_token": END, "pad_token": "[PAD]", "extra_special_tokens": {}, "additional_special_tokens": [START]},
        SPECIAL: {"eos_token": STOP, "pad_token": BYE, "additional_special_tokens": ["<image>"]}}
    yield "added_tokens_decoder over special_tokens_map", {**CHAT, CONFIG: {
        "added_tokens_decoder": decoder(special(STOP), at=BASE + 2), "eos_token": STOP},
        SPECIAL: {"eos_token": BYE, "additional_special_tokens": [START]}, ADDED: {"<tool>": BASE + 3}}
    yield "added_tokens.json", {**PLAIN, ADDED: {"<tool>": BASE + 2, STOP: BASE + 1, START: BASE + 3},
        SPECIAL: {"eos_token": STOP, "additional_special_tokens": [START]}}
    yield "added_tokens.json with other ids", {**PLAIN, ADDED: {"<tool>": 900, STOP: 700}, CONFIG: {"eos_token": STOP}}
    yield "strip, single words, normalized", {**CHAT, CONFIG: {"added_tokens_decoder": decoder(
        special(END, lstrip=True, rstrip=True), special(START, normalized=True), special(STOP, rstrip=True),
        special("<tool>", single_word=True, special=False, normalized=True), special(BYE, lstrip=True), at=BASE)}}
    yield "AddedToken objects in the config", {**PLAIN, CONFIG: {
        "eos_token": {"__type": "AddedToken", "content": STOP, "lstrip": True, "rstrip": False, "normalized": True,
                      "single_word": False},
        "bos_token": {"__type": "AddedToken", "content": END, "lstrip": False, "rstrip": False, "normalized": True,
                      "single_word": False}}}
    yield "roles of its own", {**PLAIN, CONFIG: {"image_token": "<image>", "extra_special_tokens": {"foo_token": "<foo>"}}}
    yield "a pad token past the vocabulary", {**PLAIN, CONFIG: {"pad_token": "[PAD]"}}
    yield "overlapping tokens", {**PLAIN, CONFIG: {"extra_special_tokens": ["<a>", "a>b", STOP, "<|im"]}}
    yield "split_special_tokens", {**CHAT, CONFIG: {"split_special_tokens": True, "additional_special_tokens": [STOP]}}

    yield "add_bos_token", {**PLAIN, CONFIG: {"add_bos_token": True}}
    yield "add_bos_token, add_eos_token", {**CHAT, CONFIG: {
        "add_bos_token": True, "add_eos_token": True, "bos_token": START, "eos_token": STOP}}
    yield "add_prefix_space", {**PLAIN, CONFIG: {"add_prefix_space": True}}

    yield "tokenizer.json", {"tokenizer.json": tokenizer_json()}
    yield "tokenizer.json with a begin token", {"tokenizer.json": tokenizer_json(post_processor=template([END]))}
    yield "tokenizer.json against add_bos_token", {
        "tokenizer.json": tokenizer_json(), CONFIG: {"add_bos_token": True}}
    yield "tokenizer.json against add_prefix_space", {
        "tokenizer.json": tokenizer_json(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True))}
    yield "tokenizer.json with a normalizer, as GPT2Tokenizer", {
        "tokenizer.json": tokenizer_json(normalizer=normalizers.Lowercase())}
    yield "tokenizer.json with more tokens in the config", {
        "tokenizer.json": tokenizer_json(added=[END, START]), CONFIG: {
            "additional_special_tokens": [STOP], "eos_token": STOP}}
    yield "tokenizer.json with more tokens than the config", {
        "tokenizer.json": tokenizer_json(added=[END, START, STOP]), CONFIG: {
            "added_tokens_decoder": decoder(special(END), at=BASE)}}
    yield "tokenizer.json of older versions", {"tokenizer.json": {
        **(old := tokenizer_json()),
        "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}, "model": {
            key: value if key != "merges" else MERGES for key, value in old["model"].items() if key != "type"}}}

    yield "as written", {"tokenizer.json": tokenizer_json(added=[END, STOP]), CONFIG: {**FAST, **EOS}}
    yield "as written, by config.json", {
        "tokenizer.json": tokenizer_json(), "config.json": {"model_type": "gpt2", **FAST}}
    yield "as written, with tokens around", {
        "tokenizer.json": tokenizer_json(added=[END, BYE], post_processor=template([END], [BYE])),
        CONFIG: {**FAST, "eos_token": BYE}}
    yield "as written, RobertaProcessing", {
        "tokenizer.json": tokenizer_json(added=[END, BYE], post_processor=roberta), CONFIG: {**FAST, "eos_token": BYE}}
    yield "as written, with a normalizer", {
        "tokenizer.json": tokenizer_json(
            added=[END, tokenizers.AddedToken(STOP, special=True, normalized=True), "<A>"],
            normalizer=normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()])),
        CONFIG: {**FAST, **EOS, "add_prefix_space": True}}
    yield "as written, padding", {"tokenizer.json": tokenizer_json(padding="[PAD]"), CONFIG: {**FAST, **EOS}}
    yield "as written, more tokens in the config", {
        "tokenizer.json": tokenizer_json(added=[END, tokenizers.AddedToken(STOP)]), CONFIG: {
            **FAST, "eos_token": STOP, "added_tokens_decoder": {
                **decoder(special(END, lstrip=True), at=BASE), "500": special(START), "400": special("<tool>", special=False)}}}

    yield "a chat template", {**PLAIN, CONFIG: {"chat_template": "config {{ messages }}"}}
    yield "a chat template file", {
        **PLAIN, CONFIG: {"chat_template": "config"}, "chat_template.jinja": "file {{ messages }}\n"}
    yield "chat templates by name", {**PLAIN, CONFIG: {"chat_template": [
        {"name": "default", "template": "list"}, {"name": "tool_use", "template": "tools"}]}}
    yield "further chat templates", {
        **PLAIN, CONFIG: {"chat_template": "config"}, "chat_template.jinja": "file",
        "additional_chat_templates/tool_use.jinja": "file for tools"}


def guarded(tokenizer, chat):
    """The ids of a chat, by a tokenizer whose special tokens have names that no content can hold: the
    template writes those."""
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    names = {}
    for token in whole["added_tokens"]:
        if token["special"] and not tokenizer.split_special_tokens:
            names[token["content"]] = chr(0xE000 + len(names))
            token["content"] = names[token["content"]]
    renamed = Tokenizer.from_str(json.dumps(whole))
    renamed.encode_special_tokens = tokenizer.split_special_tokens
    text = ""
    for at, part in enumerate(chat):
        if at % 2 == 0:
            for name in sorted(names, key=len, reverse=True):
                part = part.replace(name, names[name])
        text += part
    back = {name: original for original, name in names.items()}
    tokens = {id: token for token, id in renamed.get_vocab().items()}
    ids = renamed.encode(text, add_special_tokens=False).ids
    return [tokenizer.convert_tokens_to_ids(back.get(tokens[id], tokens[id])) for id in ids]


def prepared(tokenizer):
    """PAIR as TRL's DPOTrainer prepares records of text."""
    prompt, *responses = PAIR
    eos = tokenizer.eos_token
    ids = _tokenize(tokenizer, prompt)["input_ids"]
    both = [
        _tokenize(tokenizer, prompt + (text if text.endswith(eos) else text + eos))["input_ids"] for text in responses
    ]
    cut = min(common_prefix_length(ids, other) for other in both)
    return {"prompt": ids[:cut], "chosen": both[0][cut:], "rejected": both[1][cut:]}


def recorded(folder, files, store):
    for name, content in {"config.json": {"model_type": "gpt2"}, **files}.items():
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        files = {**files, name: store.setdefault(text, f"{len(store)}")}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    named = tokenizer.special_tokens_map
    specials = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}

    def ids(text, **kwargs):
        return tokenizer(text, **kwargs).input_ids

    def sample(text):
        found = ids(text, add_special_tokens=False)
        others = {
            "whole": ids(text),
            "split": ids(text, add_special_tokens=False, split_special_tokens=True),
        }
        others = {key: value for key, value in others.items() if value != found}
        return {"encode": found, "special": sum(id in specials for id in found), **others}

    samples = [sample(text) for text in SAMPLES]
    templates = {}
    if tokenizer.chat_template is not None:
        templates = {"chat": tokenizer.get_chat_template(), "tools": tokenizer.get_chat_template(tools=[{}])}
    return {
        "files": files,
        "class": type(tokenizer).__name__,
        "named": named,
        "extra": tokenizer.extra_special_tokens,
        "size": max(tokenizer.get_vocab().values()) + 1,
        "ids": samples,
        "guarded": [guarded(tokenizer, chat) for chat in CHATS],
        "trl": prepared(tokenizer) if tokenizer.eos_token else None,
        "template": templates,
    }


def main():
    store, results = {}, []
    for name, files in folders():
        with tempfile.TemporaryDirectory() as folder:
            results.append({"name": name, **recorded(Path(folder), files, store)})
    whole = {
        "versions": {
            "python": platform.python_version(),
            "tokenizers": tokenizers.__version__,
            "transformers": transformers.__version__,
            "trl": trl.__version__,
        },
        "samples": SAMPLES,
        "chats": CHATS,
        "pair": PAIR,
        "texts": {key: text for text, key in store.items()},
        "folders": results,
    }
    text = json.dumps(whole, ensure_ascii=False, indent=None, separators=(",", ":"))
    # One line for each text and folder, so that diffs are readable.
    text = text.replace('{"name":"', '\n{"name":"')
    (HERE / "expected.json").write_text(text + "\n", encoding="utf-8")


main()
