"""Compares this crate's chat templates with transformers' on every template that an installed TRL ships.

    pip install -r requirements.txt
    cargo build --release --example render_chat_template
    python compare_trl.py ../../target/release/examples/render_chat_template

Each template renders each conversation below, with and without the beginning of an answer, in both. A line
per template says how many renderings are equal, how many both refuse, and how many differ: text where
transformers has other text or refuses (silent), or a refusal where transformers has text (refused). The
script fails if one differs.
"""

import argparse
import datetime
import json
import subprocess
from importlib.metadata import version
from importlib.resources import files

import transformers.utils.chat_template_utils as reference

NOW = datetime.datetime(2024, 7, 3, 9, 8, 7)
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

SYSTEM = {"role": "system", "content": "Answer in <b>one</b> line & \"quote\" nothing."}
ASK = {"role": "user", "content": "What does a frog say?"}
ANSWER = {"role": "assistant", "content": "  A frog says croak.\n"}
ODD = {"role": "user", "content": "Ünïcode 你好 😀\n\n\t'single' \"double\" {{ braces }} {% tag %} \\n <|im_end|> </s>"}
EMPTY = {"role": "user", "content": ""}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather <now> of a \"place\"\nin degrees.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "Städte & more", "enum": ["Köln", "Rom's"]},
                    "days": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "default": [1, 2.5, 1e-7]},
                    "exact": {"type": ["boolean", "null"], "default": None, "nullable": True},
                },
                "required": ["place"],
            },
            "return": {"type": "number", "description": "degrees"},
        },
    },
    {"type": "function", "function": {"name": "noop", "description": "Nothing.",
                                      "parameters": {"type": "object", "properties": {}}}},
]
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "id": "call12345",
                    "function": {"name": "weather", "arguments": {"place": "Köln", "days": [1, 2], "exact": None}}}],
}
RESULT = {"role": "tool", "name": "weather", "tool_call_id": "call12345", "content": '{"degrees": 21.5, "ok": true}'}
THOUGHT = {"role": "assistant", "content": "Croak.", "reasoning_content": "Frogs\ncroak."}
TAGGED = {"role": "assistant", "content": "<think>\nFrogs croak.\n</think>\n\nCroak."}
PARTS = {"role": "user", "content": [{"type": "text", "text": "Look:"}, {"type": "image"}, {"type": "text", "text": "ok?"}]}

# (name, messages, tools)
CONVERSATIONS = [
    ("one turn", [ASK], None),
    ("answered", [ASK, ANSWER], None),
    ("system", [SYSTEM, ASK, ANSWER], None),
    ("turns", [SYSTEM, ASK, ANSWER, ODD, ANSWER, ASK], None),
    ("empty", [EMPTY, ANSWER, EMPTY], None),
    ("two users", [ASK, ODD], None),
    ("system alone", [SYSTEM], None),
    ("answer first", [ANSWER, ASK], None),
    ("strange role", [{"role": "critic", "content": "no"}, ASK], None),
    ("thought", [ASK, THOUGHT, ODD, THOUGHT], None),
    ("tagged thought", [ASK, TAGGED, ASK, TAGGED], None),
    ("no content", [ASK, {"role": "assistant", "content": None}, ASK], None),
    ("parts", [PARTS, ANSWER], None),
    ("nothing", [], None),
    ("tools", [ASK], TOOLS),
    ("tools, system", [SYSTEM, ASK], TOOLS),
    ("tool call", [SYSTEM, ASK, CALL, RESULT, ANSWER], TOOLS),
    ("tool call, open", [ASK, CALL, RESULT], TOOLS),
    ("two calls", [ASK, {**CALL, "content": "I look.", "tool_calls": CALL["tool_calls"] * 2}, RESULT, RESULT, THOUGHT], TOOLS),
    ("call as text", [ASK, {**CALL, "tool_calls": [{"type": "function", "function": {
        "name": "weather", "arguments": '{"place": "Köln"}'}}]}, RESULT], TOOLS),
    ("call without tools", [ASK, CALL, RESULT, ANSWER], None),
]


class FrozenClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def expected(template, messages, tools, prompt):
    """transformers' text, or None if it refuses."""
    try:
        rendered, _ = reference.render_jinja_template(
            [messages], tools=tools, chat_template=template, add_generation_prompt=prompt, **SPECIALS)
        return rendered[0]
    except Exception as error:
        return error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="the built example render_chat_template")
    parser.add_argument("--show", action="store_true", help="print every difference")
    args = parser.parse_args()
    reference.datetime = FrozenClock
    print("transformers", version("transformers"), "jinja2", version("jinja2"), "trl", version("trl"))

    paths = [path for path in files("trl").joinpath("chat_templates").iterdir() if path.name.endswith(".jinja")]
    cases, wanted = [], []
    for path in sorted(paths, key=lambda path: path.name):
        template = path.read_text(encoding="utf-8")
        for name, messages, tools in CONVERSATIONS:
            for prompt in (False, True):
                cases.append({"template": template, "messages": messages, "tools": tools, "specials": SPECIALS,
                              "add_generation_prompt": prompt, "now": NOW.isoformat()})
                wanted.append((path.name, f"{name}, prompt {prompt}", expected(template, messages, tools, prompt)))
    run = subprocess.run([args.binary], input="\n".join(map(json.dumps, cases)), capture_output=True,
                         encoding="utf-8", check=True)
    answers = [json.loads(line) for line in run.stdout.rstrip("\n").split("\n")]
    assert len(answers) == len(cases)

    table = {}
    for (template, case, want), got in zip(wanted, answers):
        row = table.setdefault(template, {"equal": 0, "both refuse": 0, "silent": 0, "refused": 0})
        if isinstance(want, Exception):
            kind = "both refuse" if "error" in got else "silent"
        elif "error" in got:
            kind = "refused"
        else:
            kind = "equal" if got["text"] == want else "silent"
        row[kind] += 1
        if args.show and kind in ("silent", "refused"):
            print(f"{template}, {case}\n  transformers {want!r}\n  here         {got}")
    print(f"{'template':44}" + "".join(f"{kind:>13}" for kind in row))
    for template, row in table.items():
        print(f"{template:44}" + "".join(f"{count:13}" for count in row.values()))
    totals = {kind: sum(row[kind] for row in table.values()) for kind in row}
    print(f"{f'{len(table)} templates':44}" + "".join(f"{count:13}" for count in totals.values()))
    raise SystemExit(totals["silent"] + totals["refused"] > 0)


if __name__ == "__main__":
    main()
