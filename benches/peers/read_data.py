"""Reading and tokenizing preference data: gpt2-dpo beside `datasets` and the same tokenizer in Python.

    cargo build --release
    python3 benches/peers/read_data.py race RECORDS TOKENIZER      # speed, a few minutes
    python3 benches/peers/read_data.py memory RECORDS TOKENIZER    # memory over 2 GB of JSON lines

RECORDS is a JSON-lines file of UltraFeedback's shape (`prompt` a text, `chosen` and `rejected` lists of
messages of which the last is the response), TOKENIZER a folder with GPT-2's vocab.json and merges.txt. The records are
repeated with a random word in every text until there are enough, so that hardly any text comes twice.

Ours is `gpt2-dpo train --plan`, which reads and tokenizes everything and trains nothing; theirs
`datasets.load_dataset` and `.map` with `AutoTokenizer`, a new cache each time. Both put the prompt into the
model card's template, tokenize prompt and responses apart, end a response with end-of-text and cut to 96 + 64
tokens. Each is a whole process; its CPU time stands beside, and theirs without Python's imports too. First the
ids of some pairs, and the number of all, must agree. Needs a Python with datasets and transformers.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from runner import Failed, Runner
from table import Row, comparison, markdown

HERE = Path(__file__).resolve()
BUILT = HERE.parent.parent.parent / "target" / "release" / "gpt2-dpo"

MAX_PROMPT, MAX_RESPONSE = 96, 64  # tokens
CHECKED = 200  # pairs whose ids are compared one by one
TARGET = 3.0
MEMORY_TARGET = 300  # MB beyond the ids
FILE_BYTES = 2_000_000_000
COUNTED = 5_000  # pairs from which the ids of the large file are reckoned
ID_BYTES = 4
CONFIG = {
    "model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
    "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "bos_token_id": 50256, "eos_token_id": 50256,
}
WAYS = {
    "rows": "datasets, .map row by row, as TRL does",
    "batches": "datasets, .map in batches, the tokenizer's threads",
    "processes": "datasets, .map in batches, a process for each core",
}


@dataclass
class Side:
    """One program's rounds."""

    seconds: list = field(default_factory=list)
    cpu_seconds: list = field(default_factory=list)
    memory_bytes: int = 0
    # Theirs without imports.
    working_seconds: list = field(default_factory=list)

    def cells(self, name):
        def times(values):
            return f"{min(values):.2f} / {statistics.median(values):.2f}" if values else ""

        columns = (self.seconds, self.cpu_seconds, self.working_seconds)
        return (name, *map(times, columns), f"{self.memory_bytes / 1e6:.0f}")


# The data.

def usable(file):
    """The records of a file whose two responses are there and differ."""
    with open(file, encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]

    def is_usable(record):
        chosen, rejected = (record[name][-1]["content"] for name in ("chosen", "rejected"))
        return record["prompt"] and chosen and rejected and chosen != rejected

    return [record for record in records if is_usable(record)]


def varied(records, seed=13):
    """The records over and over, with a random word of another one in each text."""
    rng = random.Random(seed)
    words = [word for record in records[:300] for word in record["prompt"].split()]

    def mixed(text):
        parts = text.split(" ")
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(words))
        return " ".join(parts)

    while True:
        for record in records:
            prompt = mixed(record["prompt"])
            answers = {
                name: [
                    *({**message, "content": prompt} for message in record[name][:-1]),
                    {**record[name][-1], "content": mixed(record[name][-1]["content"])},
                ]
                for name in ("chosen", "rejected")
            }
            yield {**record, "prompt": prompt, **answers}


def write(records, file, count=None, bytes_wanted=None):
    """Writes so many records, or so many bytes of them, as JSON lines; returns how many."""
    written, length = 0, 0
    with open(file, "wb") as out:
        for record in varied(records):
            if written == count or (bytes_wanted and length >= bytes_wanted):
                return written
            line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
            out.write(line)
            written, length = written + 1, length + len(line)


def model(folder, tokenizer):
    """A model folder without weights: nothing here computes with it."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    for name in ("vocab.json", "merges.txt"):
        # Without the permissions of the original, which may be read-only.
        shutil.copyfile(tokenizer / name, folder / name)
    return folder


# Their side, in a process of its own.

def theirs(args):
    began = time.monotonic()
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    imported = time.monotonic()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    kind = "parquet" if args.data.suffix == ".parquet" else "json"
    rows = datasets.load_dataset(kind, data_files=str(args.data), split="train", cache_dir=str(args.cache))
    end = [tokenizer.eos_token_id]

    def prompt(text):
        return f"User: {text}\nAssistant: "

    def by_row(row):
        def encode(text):
            return tokenizer(text)["input_ids"]

        return {
            "prompt_ids": encode(prompt(row["prompt"]))[-MAX_PROMPT:],
            "chosen_ids": (encode(row["chosen"][-1]["content"]) + end)[:MAX_RESPONSE],
            "rejected_ids": (encode(row["rejected"][-1]["content"]) + end)[:MAX_RESPONSE],
        }

    def by_batch(batch):
        def encode(texts):
            return tokenizer(texts, return_attention_mask=False)["input_ids"]

        answers = {
            f"{name}_ids": [
                (ids + end)[:MAX_RESPONSE]
                for ids in encode([messages[-1]["content"] for messages in batch[name]])
            ]
            for name in ("chosen", "rejected")
        }
        prompts = encode([prompt(text) for text in batch["prompt"]])
        return {"prompt_ids": [ids[-MAX_PROMPT:] for ids in prompts], **answers}

    how = {
        "rows": {"function": by_row},
        "batches": {"function": by_batch, "batched": True},
        "processes": {"function": by_batch, "batched": True, "num_proc": args.threads},
    }
    done = rows.map(remove_columns=rows.column_names, **how[args.way])
    ended = time.monotonic()
    found = {"pairs": len(done), "seconds": ended - imported, "import_seconds": imported - began}
    if args.ids:
        found["ids"] = [
            [row[f"{name}_ids"] for name in ("prompt", "chosen", "rejected")]
            for row in done.select(range(args.ids))
        ]
    args.json.write_text(json.dumps(found))


# Both sides, from outside.

class Arena:
    """The programs, and a folder with the model and what they read and write."""

    def __init__(self, runner, args, work):
        self.runner, self.work = runner, work
        self.binary, self.python = args.binary or BUILT, args.python
        self.model = model(work / "model", args.tokenizer)

    def timed(self, command, side):
        before = cpu_seconds()
        done = self.runner.run(command)
        side.seconds.append(done.seconds)
        side.cpu_seconds.append(cpu_seconds() - before)
        side.memory_bytes = max(side.memory_bytes, done.max_rss_bytes)
        return done

    def ours(self, data, side):
        """Returns how many pairs were read."""
        command = [
            self.binary, "train", "--plan", "--device", "cpu", "--model", self.model, "--data", data,
            "--max-prompt-tokens", MAX_PROMPT, "--max-response-tokens", MAX_RESPONSE,
        ]
        output = self.timed(command, side).output
        return next(int(line.split()[1]) for line in output.splitlines() if line.startswith("pairs "))

    def theirs(self, data, way, side, ids=0):
        """Returns what was found: how many pairs, and the ids of the first ones."""
        cache, result = self.work / "cache", self.work / "theirs.json"
        shutil.rmtree(cache, ignore_errors=True)
        self.timed([
            self.python, HERE, "theirs", way, "--model", self.model, "--data", data, "--cache", cache,
            "--json", result, "--ids", ids, "--threads", self.runner.threads,
        ], side)
        shutil.rmtree(cache, ignore_errors=True)
        found = json.loads(result.read_text())
        side.working_seconds.append(found["seconds"])
        return found

    def objection(self, data):
        """What is wrong with the ids of the first pairs; empty if nothing."""
        output = self.runner.run([
            self.binary, "inspect", data, "--tokenizer", self.model, "--json", "--limit", CHECKED,
            "--examples", CHECKED, "--max-prompt-tokens", MAX_PROMPT, "--max-response-tokens", MAX_RESPONSE,
        ]).output
        mine = json.loads(output[output.index("{\n"):output.rindex("}") + 1])["examples"]
        other = self.theirs(data, "batches", Side(), CHECKED)["ids"]
        for example in mine:
            at = int(example["place"].rsplit(":", 1)[1]) - 1
            ids = [[token["id"] for token in example[name]] for name in ("prompt", "chosen", "rejected")]
            if ids != other[at]:
                return f"record {at + 1} has other ids"
        return "" if len(mine) == CHECKED else f"{len(mine)} pairs were shown, not {CHECKED}"


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def race(args, arena):
    data, count = arena.work / "pairs.jsonl", args.pairs
    records = usable(args.records)
    write(records, data, count)
    arena.runner.run([
        args.python, "-c", "import sys, pyarrow.json as j, pyarrow.parquet as p; "
        "p.write_table(j.read_json(sys.argv[1]), sys.argv[2], row_group_size=1000)",
        data, data.with_suffix(".parquet"),
    ])
    sample = arena.work / "sample.jsonl"
    write(records, sample, CHECKED)
    objection = arena.objection(sample)

    rows, details = [], []
    for suffix in (".jsonl", ".parquet"):
        file, mine, others = data.with_suffix(suffix), Side(), {way: Side() for way in WAYS}
        for _ in range(args.rounds):
            pairs = arena.ours(file, mine)
            for way, side in others.items():
                found = arena.theirs(file, way, side)
                if found["pairs"] != pairs:
                    objection = objection or f"ours has {pairs} pairs, theirs {found['pairs']}"
        where = f"reading and tokenizing, {suffix[1:]}"
        details.append(mine.cells(f"{suffix[1:]}: gpt2-dpo"))
        speed = count / statistics.median(mine.seconds)
        for way, side in others.items():
            details.append(side.cells(f"{suffix[1:]}: {WAYS[way]}"))
            for against, seconds in (
                (WAYS[way], side.seconds),
                ("the same, imports not counted", side.working_seconds),
            ):
                other = count / statistics.median(seconds)
                rows.append(Row(where, against, "pairs/s", speed, other, TARGET, objection=objection))
    head = (f"{count} pairs: seconds, least / median", "wall", "CPU", "wall without imports", "peak MB")
    return f"{markdown(head, details)}\n\n{comparison(rows)}", objection


def memory(args, arena):
    """Ours over a large file."""
    records, small, large = usable(args.records), arena.work / "small.jsonl", arena.work / "large.jsonl"
    write(records, small, COUNTED)
    found = arena.theirs(small, "batches", Side(), COUNTED)["ids"]
    per_pair = sum(len(ids) for pair in found for ids in pair) / COUNTED
    write(records, large, bytes_wanted=FILE_BYTES * args.share)
    side = Side()
    pairs = arena.ours(large, side)
    ids = pairs * per_pair * ID_BYTES
    beyond = (side.memory_bytes - ids) / 1e6
    rows = [
        ("file", f"{large.stat().st_size / 1e6:.0f} MB, {pairs} pairs"),
        ("time", f"{side.seconds[0]:.1f} s, {side.cpu_seconds[0]:.1f} s of the CPU"),
        ("ids that stay", f"{per_pair:.0f} a pair, {ids / 1e6:.0f} MB"),
        ("peak", f"{side.memory_bytes / 1e6:.0f} MB"),
        ("beyond the ids", f"{beyond:.0f} MB"),
    ]
    target = [Row("memory beyond the ids", "", "MB", beyond, target=MEMORY_TARGET, at_most=True)]
    return f"{markdown(('2 GB of JSON lines', 'gpt2-dpo'), rows)}\n\n{comparison(target)}", ""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("race", "memory"):
        command = commands.add_parser(name)
        command.add_argument("records", type=Path, metavar="RECORDS")
        command.add_argument("tokenizer", type=Path, metavar="TOKENIZER")
        command.add_argument("--binary", type=Path, help="gpt2-dpo; target/release/gpt2-dpo if not given")
        command.add_argument("--python", default=sys.executable, help="a Python with datasets and transformers")
        command.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of both sides")
        command.add_argument("--prefix", default="", help="put before each command: 'taskset -c 0,1'")
        command.add_argument("--work", type=Path, help="for temporary files; the system's folder if not given")
    commands.choices["race"].add_argument("--rounds", type=int, default=3, help="turns that each side gets")
    commands.choices["race"].add_argument("--pairs", type=int, default=10_000, help="read by each side")
    commands.choices["memory"].add_argument("--share", type=float, default=1.0, help="of the 2 GB")
    command = commands.add_parser("theirs")  # what `race` starts
    command.add_argument("way", choices=WAYS)
    for name in ("--model", "--data", "--cache", "--json"):
        command.add_argument(name, type=Path, required=True)
    for name in ("--ids", "--threads"):
        command.add_argument(name, type=int, required=True)
    args = parser.parse_args()
    if args.command == "theirs":
        return theirs(args)

    # Nothing is to be asked of the hub.
    os.environ.update(HF_HUB_OFFLINE="1")
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        try:
            arena = Arena(Runner(args.threads, args.prefix), args, Path(work))
            table, objection = {"race": race, "memory": memory}[args.command](args, arena)
        except Failed as failure:
            sys.exit(f"not measured: {failure}")
    print(table)
    if objection:
        sys.exit(f"outputs differ: {objection}")


if __name__ == "__main__":
    main()
