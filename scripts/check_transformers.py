"""Checks that a directory this program wrote is one that Hugging Face transformers reads.

    check_transformers.py RUN_DIR
    check_transformers.py RUN_DIR --prompt $'User: Hi\\nAssistant: ' --binary target/release/gpt2-dpo

Prints a line for each check; exits with 1 if any failed.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    " leading and trailing spaces, and  double ones ",
    "User: Is this it?\nAssistant: It isn't.\n\n\tIndented; 12345.67 % (brackets) [of] {kinds}",
    "naïve café, größer, 日本語, Ελληνικά, 👩‍🚀",
]


class Checks:
    """Prints each check as it is made and counts the failures."""

    def __init__(self):
        self.failed = 0

    def __call__(self, passed, what, detail=""):
        self.failed += not passed
        print(f"{'ok  ' if passed else 'FAIL'} {what}" + ("" if passed else f": {detail}"))


def check_file(check, path):
    """The tensors as stored."""
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        dtypes = {name: file.get_slice(name).get_dtype() for name in names}
        bad = [name for name in names if not file.get_tensor(name).isfinite().all()]
    not_f32 = {name: dtype for name, dtype in dtypes.items() if dtype != "F32"}
    check(names and not not_f32, f"all {len(names)} tensors of {path.name} are F32", not_f32 or "none there")
    check(not bad, "all of them are finite", bad)


def check_model(check, run_dir):
    model, info = AutoModelForCausalLM.from_pretrained(run_dir, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        check(not info[kind], f"no {kind.replace('_', ' ')}", info[kind])
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    check(tied, "the head is tied to the token embedding", "they are two tensors")
    return model.eval()


def check_tokenizer(check, run_dir):
    tokenizer = AutoTokenizer.from_pretrained(run_dir)
    for text in TEXTS:
        back = tokenizer.decode(tokenizer.encode(text), clean_up_tokenization_spaces=False)
        check(back == text, f"the tokenizer round-trips {text!r}", f"it gives back {back!r}")
    return tokenizer


def greedy_text(model, tokenizer, prompt, max_new_tokens):
    """The continuation, and the smallest lead of a chosen token over its runner-up, in logits."""
    inputs = tokenizer(prompt, return_tensors="pt")
    output = model.generate(
        **inputs, do_sample=False, max_new_tokens=max_new_tokens,
        pad_token_id=model.config.eos_token_id, return_dict_in_generate=True, output_logits=True,
    )
    top = torch.stack([logits[0].topk(2).values for logits in output.logits])
    new_ids = output.sequences[0, inputs["input_ids"].shape[1] :]
    text = tokenizer.decode(new_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text, (top[:, 0] - top[:, 1]).min().item()


def check_text(check, what, actual, prompt, expected, lead):
    """`actual` is the continuation, with or without the prompt before it."""
    actual = actual.rstrip("\n").removeprefix(prompt)
    check(
        actual == expected.rstrip("\n"), f"{what} is transformers' greedy text",
        f"\n  got      {actual!r}\n  expected {expected!r}\n"
        f"  smallest lead of a greedy token over the next: {lead:.2e} (near 0, rounding may decide)",
    )


def run_binary(binary, run_dir, prompt, max_new_tokens):
    command = [
        binary, "generate", "--model", run_dir, "--prompt", prompt,
        "--max-new-tokens", str(max_new_tokens),
    ]
    return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--prompt", default="User: What is the capital of France?\nAssistant: ")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--expect-text-file", type=Path, help="greedy continuation to hold against")
    parser.add_argument("--binary", type=Path, help="program whose `generate` to hold against")
    args = parser.parse_args()

    check = Checks()
    check_file(check, args.run_dir / "model.safetensors")
    model = check_model(check, args.run_dir)
    tokenizer = check_tokenizer(check, args.run_dir)

    expected, lead = greedy_text(model, tokenizer, args.prompt, args.max_new_tokens)
    print(f"     transformers' greedy text: {expected!r}")
    if args.expect_text_file:
        # Bytes, because read_text would turn \r\n into \n.
        text = args.expect_text_file.read_bytes().decode("utf-8", errors="replace")
        check_text(check, args.expect_text_file.name, text, args.prompt, expected, lead)
    if args.binary:
        done = run_binary(args.binary, args.run_dir, args.prompt, args.max_new_tokens)
        check(done.returncode == 0, "generate succeeds", f"exit {done.returncode}\n{done.stderr}")
        check_text(check, "the text of generate", done.stdout, args.prompt, expected, lead)
    sys.exit(f"{check.failed} checks failed" if check.failed else 0)


if __name__ == "__main__":
    main()
