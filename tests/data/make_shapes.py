"""Writes shapes.json beside this file: small records, and what TRL makes of each before it tokenizes.

    pip install trl==1.16.0 datasets==5.2.0 transformers==5.23.0 && python make_shapes.py

A case has the `record`, as our reader gets it, and what `trl` has of it:

    preference    maybe_convert_to_chatml, then maybe_extract_prompt: prompt, chosen, rejected
    conversation  maybe_convert_to_chatml: messages
    unpaired      unpair_preference_dataset: two rows of prompt, completion, label

`differs` says why we read the record otherwise, where we do. A second run writes the same bytes.
"""

import copy
import json
from importlib.metadata import version
from pathlib import Path

from datasets import Dataset
from trl import maybe_convert_to_chatml, maybe_extract_prompt, unpair_preference_dataset

HERE = Path(__file__).resolve().parent


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def lists(before, chosen="A frog says croak.", rejected="Croak.", **others):
    return {
        **others,
        "chosen": [*before, assistant(chosen)],
        "rejected": [*before, assistant(rejected)],
    }


ASKED = "What does a frog say?"
TURNS = [user("Hi"), assistant("Hello. What is it?"), user(ASKED)]
TEXT = {"prompt": ASKED, "chosen": "A frog says croak.", "rejected": "Croak."}

PREFERENCE = {
    "text": TEXT,
    "text with spaces": {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
    "all three as messages": lists([], prompt=[user(ASKED)]),
    "a conversation as the prompt": lists([], prompt=[system("Be kind."), *TURNS]),
    "a prompt said twice": lists([user(ASKED)], prompt=ASKED),
    "the first of several turns said twice": lists(TURNS, prompt="Hi"),
    "the last of several turns said twice": lists(TURNS, prompt=ASKED),
    "messages without a prompt": lists([user(ASKED)]),
    "several turns without a prompt": lists(TURNS),
    "a system message without a prompt": lists([system("Be kind."), user(ASKED)]),
    "equal messages without a prompt": lists([user(ASKED)], "Croak.", "Croak."),
    "from and value": {
        "chosen": [{"from": "user", "value": ASKED}, {"from": "assistant", "value": "Croak."}],
        "rejected": [{"from": "user", "value": ASKED}, {"from": "assistant", "value": "Moo."}],
    },
    "a common beginning up to a space": {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    "a common beginning up to a newline": {"chosen": "Où est-il ?\nIci.", "rejected": "Où est-il ?\nLà."},
}

DIFFERS = {
    "a word is not cut": (
        {"chosen": "The sky is blue.", "rejected": "The sky is black."},
        "TRL cuts at the first character that differs, inside of a word",
    ),
    "a transcript of one turn": (
        {
            "chosen": "\n\nHuman: Does a frog say moo?\n\nAssistant: No, it says croak.",
            "rejected": "\n\nHuman: Does a frog say moo?\n\nAssistant: No, but a cow does.",
        },
        "TRL cuts at the first character that differs: common first words go to the prompt",
    ),
    "a transcript of two turns": (
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Bye\n\nAssistant: Goodbye.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Bye\n\nAssistant: See you.",
        },
        "TRL takes transcripts for plain text",
    ),
    "earlier answers differ": (
        {
            "chosen": [user("Hi"), assistant("Hello."), user("Bye"), assistant("Goodbye.")],
            "rejected": [user("Hi"), assistant("Yes?"), user("Bye"), assistant("See you.")],
        },
        "TRL scores all that is said behind the first difference, the user's messages too",
    ),
    "equal texts without a prompt": (
        {"chosen": "The sky is blue.", "rejected": "The sky is blue."},
        "TRL takes all but the last character for the prompt",
    ),
    "another prompt than in the lists": (
        lists([user("Hi")], "Hello.", "No.", prompt="Translate into French: Hi there"),
        "TRL drops the prompt without a word",
    ),
    "a system message of its own": (
        {**TEXT, "system": "You answer in one line."},
        "TRL does not read the key",
    ),
    "ShareGPT's names of roles": (
        {
            "chosen": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": "Croak."}],
            "rejected": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": "Moo."}],
        },
        "TRL keeps the names, and leaves them to the chat template",
    ),
}

CONVERSATION = {
    "conversations": {
        "conversations": [
            {"from": "system", "value": "Be kind."},
            {"from": "user", "value": ASKED},
            {"from": "assistant", "value": "Croak."},
        ]
    },
    "messages": {"messages": [*TURNS, assistant("Croak.")]},
}

UNPAIRED = {
    "labelled text": TEXT,
    "labelled messages": lists([], prompt=[user(ASKED)]),
}


def preference(record):
    return maybe_extract_prompt(maybe_convert_to_chatml(copy.deepcopy(record)))


def main():
    cases = [
        {"name": name, "record": record, "trl": preference(record)}
        for name, record in PREFERENCE.items()
    ]
    cases += [
        {"name": name, "record": record, "trl": preference(record), "differs": why}
        for name, (record, why) in DIFFERS.items()
    ]
    cases += [
        {"name": name, "record": record, "trl": maybe_convert_to_chatml(copy.deepcopy(record))}
        for name, record in CONVERSATION.items()
    ]
    for name, record in UNPAIRED.items():
        # TRL's result is itself a record: the test reads it back.
        rows = unpair_preference_dataset(Dataset.from_list([record])).to_list()
        cases += [{"name": f"{name}, {row['label']}", "record": row, "trl": row} for row in rows]
    versions = {name: version(name) for name in ("trl", "datasets", "transformers")}
    text = json.dumps({"versions": versions, "cases": cases}, ensure_ascii=False, indent=1)
    (HERE / "shapes.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
