"""Writes expected.json beside this file: what transformers renders of the templates and snippets here.

    pip install -r requirements.txt && python make_fixtures.py

templates/ holds chat templates of our own, each rendered for every conversation below, without and with the
beginning of an answer. snippets.json holds small templates that ask for one thing each. Where transformers
raises, the fixture says so, with the message if it is the template's own (`raise_exception`).

expected.json:
    versions                        of Python, jinja2 and transformers
    now, specials, tools            what the templates were given
    conversations                   {name: {messages, tools: whether with the tools}}
    templates                       {name: {conversation: [without, with]}}
    snippets                        a rendering for each of snippets.json in order, for the conversation SNIPPETS
                                    with the tools
A rendering is the text, {"raises": message} or, for any other failure, null.
"""

import datetime
import json
import platform
from importlib.metadata import version
from pathlib import Path

import jinja2
import transformers.utils.chat_template_utils as reference

HERE = Path(__file__).resolve().parent
NOW = datetime.datetime(2024, 7, 3, 9, 8, 7, 65432)
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
SNIPPETS = "turns"


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather <now> in a \"place\".",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "enum": ["Köln", "Rom's"]},
                    "days": {"type": "array", "items": {"type": "integer"}, "default": [1, 2.5, 1e-7, 1e20]},
                    "exact": {"type": ["boolean", "null"], "default": None},
                },
                "required": ["place"],
            },
        },
    },
    {"name": "noop", "description": "", "parameters": {"type": "object", "properties": {}}},
]
CALLS = [{"type": "function", "function": {"name": "weather", "arguments": {"place": "Köln", "days": [1, 2], "exact": None}}}]

# {name: (messages, whether with tools)}
CONVERSATIONS = {
    "one turn": ([user("What does a frog say?")], False),
    "turns": ([system("You answer in <b>one</b> line & \"quote\" it."), user("What does a frog say?"),
               assistant("  A frog says croak.\n"), user("And a\ncow?"), assistant("It's moo.")], False),
    "unicode": ([user("Ünïcode 你好 😀 ﬁ ß\u200b\u00a0"), assistant("Привет, κόσμε ΣΑΣ\u2028e\u0301")], False),
    "quotes and marks": ([user("a 'b' \"c\" \\n \\ {{ d }} {% e %} {# f #} <s> </s> <|im_end|> [/INST]"),
                          assistant("\t<think>\nhm\n</think>\n\ndone  ")], False),
    "empty": ([user(""), assistant(""), user("  \n ")], False),
    "same role twice": ([user("Hello"), user("Anyone there?")], False),
    "answer first": ([assistant("I begin."), user("Do you?")], False),
    "unknown role": ([user("Hi"), {"role": "critic", "content": "No."}], False),
    "system alone": ([system(" Be kind. ")], False),
    "nothing": ([], False),
    "tools": ([user("Rain in Köln?"), assistant(None, tool_calls=CALLS), {"role": "tool", "content": {"degrees": 21.5}},
               assistant("No.", reasoning="It is\n21.5.")], True),
    "parts": ([user([{"type": "text", "text": "Look"}, {"type": "image"}, {"type": "text", "text": "here"}]),
               assistant([])], False),
}


class FrozenClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def render(template, messages, tools, prompt):
    try:
        rendered, _ = reference.render_jinja_template(
            [messages], tools=tools, chat_template=template, add_generation_prompt=prompt, **SPECIALS)
        return rendered[0]
    except jinja2.exceptions.TemplateError as error:
        # Of the exception classes, raise_exception raises exactly the base class.
        return {"raises": str(error)} if type(error) is jinja2.exceptions.TemplateError else None
    except Exception:
        return None


def main():
    reference.datetime = FrozenClock
    templates = {}
    for path in sorted((HERE / "templates").glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        templates[path.stem] = {
            name: [render(source, messages, TOOLS if with_tools else None, prompt) for prompt in (False, True)]
            for name, (messages, with_tools) in CONVERSATIONS.items()
        }
    messages, _ = CONVERSATIONS[SNIPPETS]
    sections = json.loads((HERE / "snippets.json").read_text(encoding="utf-8"))
    snippets = [render(source, messages, TOOLS, False) for section in sections.values() for source in section]
    fixture = {
        "versions": {"python": platform.python_version(), "jinja2": version("jinja2"),
                     "transformers": version("transformers")},
        "now": NOW.isoformat(),
        "specials": SPECIALS,
        "tools": TOOLS,
        "conversations": {name: {"messages": messages, "tools": with_tools}
                          for name, (messages, with_tools) in CONVERSATIONS.items()},
        "templates": templates,
        "snippets": snippets,
    }
    text = json.dumps(fixture, ensure_ascii=False, indent=1)
    (HERE / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
