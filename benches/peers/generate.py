"""Greedy generation: gpt2-dpo against transformers' `generate`, on the CPU.

    cargo build --release
    python3 benches/peers/generate.py                # needs torch and transformers

Both continue the same 64 ids with the same gpt2 of random weights (`pytorch_dpo.py make`), in f32 and with a key/value
cache. The time of a token is that of 65 new tokens less that of one, so that loading and the prompt do not count. The sides
take turns; the figures are medians. Before a ratio is printed, both must have written the same tokens.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from runner import Runner
from table import Row, comparison

HERE = Path(__file__).resolve().parent
PEER = HERE / "pytorch_dpo.py"
BUILT = HERE.parent.parent / "target" / "release" / "gpt2-dpo"
VOCABULARY = 50257
PROMPT = "the quick brown fox jumps over the lazy dog, and then goes home."  # 64 characters
NEW = 64


def tokenizer(folder):
    """Writes a tokenizer of the model's size in which each byte is a token, and returns the ids of PROMPT.

    GPT-2's byte level maps printable ASCII to itself and a space to Ġ; the tokens after it are never merged."""
    letters = [chr(code) for code in range(33, 127)] + ["Ġ"]
    # Each id that the model may write has a text of its own, by which the two outputs are compared.
    others = [f"<{number}>" for number in range(VOCABULARY - len(letters))]
    vocabulary = {token: number for number, token in enumerate(letters + others)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return [vocabulary[letter.replace(" ", "Ġ")] for letter in PROMPT], letters + others


def ours(runner, args, folder, count):
    began = time.perf_counter()
    done = runner.run([
        args.binary, "generate", "--device", "cpu", "--model", folder, "--prompt", PROMPT, "--max-new-tokens", count,
    ])
    return time.perf_counter() - began, done.output


def theirs(model, ids, count):
    import torch

    with torch.inference_mode():
        prompt = torch.tensor([ids])
        began = time.perf_counter()
        whole = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, min_new_tokens=count,
            do_sample=False, pad_token_id=0,
        )
        return time.perf_counter() - began, whole[0, len(ids):].tolist()


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=BUILT)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="where to make the model; the system's place if not given")
    return parser.parse_args()


def main():
    args = parse_args()
    runner = Runner(args.threads)
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        folder = Path(folder)
        runner.run([sys.executable, PEER, "make", "--preset", "gpt2", "--out", folder, "--pairs", 1])
        ids, texts = tokenizer(folder)

        import torch
        from transformers import GPT2LMHeadModel

        torch.set_num_threads(args.threads)
        model = GPT2LMHeadModel.from_pretrained(folder).eval()
        theirs(model, ids, 2)  # warm-up
        times = {"ours": [], "theirs": []}
        for _ in range(args.rounds):
            (one, _), (many, text) = (ours(runner, args, folder, count) for count in (1, 1 + NEW))
            times["ours"].append((many - one) / NEW)
            (one, _), (many, tokens) = (theirs(model, ids, count) for count in (1, 1 + NEW))
            times["theirs"].append((many - one) / NEW)
            print(*(f"{side} {1e3 * seconds[-1]:.1f} ms" for side, seconds in times.items()), file=sys.stderr)
        same = "".join(texts[token] for token in tokens).replace("Ġ", " ") in text
    speed = {side: 1 / statistics.median(seconds) for side, seconds in times.items()}
    row = Row(
        "gpt2, one token after another", "transformers' generate", "tokens/s", speed["ours"], speed["theirs"], 2.0,
        objection="" if same else "the texts differ",
    )
    print(comparison([row]))
    sys.exit(row.met() is False)


if __name__ == "__main__":
    main()
