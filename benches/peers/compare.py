"""gpt2-dpo and PyTorch in one run, as ratios.

    cargo build --release
    python3 benches/peers/compare.py cpu-recipe cpu-small
    python3 benches/peers/compare.py software --adapter llvmpipe --before OLD_BINARY
    python3 benches/peers/compare.py gpu gpu-mixed --adapter 0

Both sides read the same weights and the same pairs of 96 + 64 + 64 tokens, made by `pytorch_dpo.py make`, take
the same steps on the same number of threads, turn by turn. First their outputs are compared: every loss of
step 1 must be ln 2, and loss and gradient norm of the first steps must agree (`scripts/pytorch_dpo.py compare`);
a ratio of programs that compute different things would be none. Ours is `gpt2-dpo train` itself.
Needs Linux or macOS, and a Python with torch.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runner import Failed, Runner
from table import Row, comparison

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEER = HERE / "pytorch_dpo.py"
BUILT = ROOT / "target" / "release" / "gpt2-dpo"
FIDELITY = ROOT / "scripts" / "pytorch_dpo.py"

BATCH = 4
PAIRS = 16  # of the data file: one step of the recipe
TOKENS = (96, 64)  # of a prompt, of a response
TRIAL_TOKENS = (12, 8)
CHECKED_STEPS = 3
F32, TF32, BF16 = 1e-4, 1e-2, 5e-2  # relative, of loss and gradient norm
# Seconds of the small step on two cores, measured back to back: burn 0.22 on wgpu and PyTorch on the CPU.
BURN_WGPU, BURN_PYTORCH = 6.0, 0.27


@dataclass(frozen=True)
class Peer:
    against: str
    options: tuple = ()  # of pytorch_dpo.py run
    target: float | None = None
    tolerance: float = F32
    memory: float | None = None  # target of the ratio of peak memory
    binary: Path | None = None  # another gpt2-dpo instead of PyTorch


@dataclass(frozen=True)
class Contest:
    where: str
    preset: str
    accumulation: int
    reference: str  # on-the-fly, cached, or counted: cached, its one pass over the pairs part of the step
    ours: tuple  # options of gpt2-dpo train
    peers: tuple
    steps: int
    warmup: int


@dataclass
class Side:
    """What one program did in one round."""

    seconds: list  # of each step after the warm-up
    reference_seconds: float
    memory_bytes: int
    steps: list  # {"step", "loss", "grad_norm", ...}


def contests(args):
    """Every contest by name."""
    gpt2, small = ("tiny", "tiny") if args.quick else ("gpt2", "small")
    cpu, gpu = ("--device", "cpu"), ("--device", args.adapter)
    theirs = ("--device", args.torch_device)
    full, best = ("--logits", "full"), ("--logits", "response")
    bf16 = (*theirs, "--precision", "bf16")
    recipe = (
        Peer("PyTorch f32, logits of all positions", full, 2.0, memory=0.5),
        Peer("PyTorch f32, head on response positions", best, 1.5, memory=0.5),
    )
    before = Peer("its own state before", target=3.0, binary=args.before)
    many = (4, 1) if args.quick else (30, 6)
    return {
        "cpu-recipe": Contest(
            "CPU engine, recipe step, reference on the fly", gpt2, 4, "on-the-fly", cpu, recipe, 2, 1
        ),
        "cpu-counted": Contest(
            "CPU engine, recipe step, cached reference counted", gpt2, 4, "counted", cpu, recipe, 2, 1
        ),
        "cpu-small": Contest(
            "CPU engine, small step", small, 1, "cached", cpu,
            (Peer("PyTorch f32, head on response positions", best, 1.0),), 23, 3,
        ),
        "software": Contest(
            "software Vulkan, small step", small, 1, "cached", gpu,
            (
                Peer(
                    "2 × burn-wgpu's speed, scaled by PyTorch on the CPU", best,
                    2 * BURN_PYTORCH / BURN_WGPU,
                ),
                *([before] if args.before else []),
            ),
            4, 1,
        ),
        "gpu": Contest(
            "GPU, recipe step, f32", gpt2, 4, "cached", gpu,
            (
                Peer("PyTorch f32, TF32 off, eager", theirs, 1.5),
                Peer("PyTorch TF32, eager", (*theirs, "--precision", "tf32"), tolerance=TF32),
                Peer("PyTorch f32, TF32 off, eager, logits of all positions", (*theirs, *full)),
            ),
            *many,
        ),
        "gpu-compiled": Contest(
            "GPU, recipe step, f32", gpt2, 4, "cached", gpu,
            (
                Peer("PyTorch f32, TF32 off, compiled", (*theirs, "--compile", "default")),
                Peer(
                    "PyTorch TF32, compiled", (*theirs, "--precision", "tf32", "--compile", "default"),
                    tolerance=TF32,
                ),
            ),
            *many,
        ),
        "gpu-mixed": Contest(
            "GPU, recipe step, mixed", gpt2, 4, "cached", (*gpu, "--precision", "mixed"),
            (
                Peer("PyTorch bf16 autocast, compiled", (*bf16, "--compile", "default"), 1.0, BF16),
                Peer(
                    "PyTorch bf16 autocast, compiled, CUDA graphs",
                    (*bf16, "--compile", "reduce-overhead"), 1.0, BF16,
                ),
                Peer("PyTorch bf16 autocast, eager", bf16, tolerance=BF16),
            ),
            *many,
        ),
    }


class Arena:
    """Where contests are held: the programs, and a folder with models and what the programs write."""

    def __init__(self, runner, args, work, limit=3600):
        """`limit` is what one run may take, in seconds."""
        self.runner, self.work, self.limit = runner, work, limit
        self.binary, self.python = args.binary or BUILT, args.python
        self.tokens = TRIAL_TOKENS if args.quick else TOKENS

    def model(self, preset):
        folder = self.work / preset
        if not (folder / "pairs.jsonl").exists():
            prompt, response = self.tokens
            self.runner.run([
                self.python, PEER, "make", "--preset", preset, "--out", folder, "--pairs", PAIRS,
                "--prompt-tokens", prompt, "--response-tokens", response,
            ])
        return folder

    def train(self, preset, steps, options, binary=None):
        """`gpt2-dpo train` on the pairs in file order; returns what it did and its folder."""
        model, out = self.model(preset), self.work / "run"
        shutil.rmtree(out, ignore_errors=True)
        if "on-the-fly" not in options:
            options = (*options, "--cache-dir", self.work / "cache")
        command = [
            binary or self.binary, "train", "--model", model, "--data", model / "pairs.jsonl",
            "--no-shuffle", "--batch-size", BATCH, "--max-steps", steps, "--out", out, *options,
        ]
        return self.runner.run(command, self.limit, out / "metrics.jsonl"), out

    def forget(self):
        """Throws away what earlier runs kept: reference log-probs and the autotune table."""
        shutil.rmtree(self.work / "cache", ignore_errors=True)

    def ours(self, contest, binary=None):
        reference = ("--reference", "on-the-fly") if contest.reference == "on-the-fly" else ()
        options = ("--gradient-accumulation-steps", contest.accumulation, *reference, *contest.ours)
        if contest.reference == "counted":
            self.forget()
        done, out = self.train(contest.preset, contest.steps, options, binary)
        steps = read_jsonl(out / "metrics.jsonl")
        seconds = [BATCH * contest.accumulation / step["pairs_per_second"] for step in steps]
        # Until the first step begins: the reference's pass, and all that goes before it too.
        before = done.first_line_seconds - seconds[0]
        return Side(seconds[contest.warmup :], before, done.max_rss_bytes, steps)

    def theirs(self, contest, peer):
        if peer.binary:
            return self.ours(contest, peer.binary)
        model, result = self.model(contest.preset), self.work / "theirs.json"
        reference = "on-the-fly" if contest.reference == "on-the-fly" else "cached"
        self.runner.run([
            self.python, PEER, "run", "--model", model, "--data", model / "pairs.jsonl",
            "--steps", contest.steps, "--warmup-steps", contest.warmup, "--batch-size", BATCH,
            "--gradient-accumulation-steps", contest.accumulation, "--reference", reference,
            "--threads", self.runner.threads, "--json", result, *peer.options,
        ], self.limit)
        found = json.loads(result.read_text(encoding="utf-8"))
        seconds = [step["seconds"] for step in found["steps"]][contest.warmup :]
        return Side(seconds, found["reference_seconds"], found["peak_memory_bytes"], found["steps"])

    def objection(self, ours, theirs, tolerance):
        """What is wrong with the outputs of the two; empty if nothing."""
        for name, side, bound in (("our", ours, F32), ("their", theirs, tolerance)):
            loss = side.steps[0]["loss"]
            if not abs(loss - math.log(2)) <= bound:
                return f"{name} loss at step 1 is {loss:.4f}, not ln 2"
        mine, other = self.work / "ours.jsonl", self.work / "checked.json"
        mine.write_text("".join(json.dumps(step) + "\n" for step in ours.steps))
        other.write_text(json.dumps({"steps": theirs.steps[:CHECKED_STEPS]}))
        verdict = self.runner.attempt([
            self.python, FIDELITY, "compare", "--ours", mine, "--theirs", other, "--tolerance", tolerance,
        ])
        return "" if verdict.code == 0 else f"outputs differ by more than {tolerance}"

    def hold(self, contest, rounds):
        """The rows of a contest, and the rounds of each side for the record."""
        mine, others = [], [[] for _ in contest.peers]
        for _ in range(rounds):
            mine.append(self.ours(contest))
            for peer, sides in zip(contest.peers, others):
                sides.append(self.theirs(contest, peer))
        rows = []
        speed = pairs_per_second(contest, mine)
        for peer, sides in zip(contest.peers, others):
            objection = self.objection(mine[0], sides[0], peer.tolerance)
            rows.append(Row(
                contest.where, peer.against, "pairs/s", speed, pairs_per_second(contest, sides), peer.target,
                objection=objection,
            ))
            if peer.memory:
                used, theirs = (max(side.memory_bytes for side in group) / 2**20 for group in (mine, sides))
                rows.append(Row(
                    f"{contest.where}: peak memory", peer.against, "MiB", used, theirs, peer.memory,
                    at_most=True, objection=objection,
                ))
        return rows, {"ours": mine} | {peer.against: sides for peer, sides in zip(contest.peers, others)}


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pairs_per_second(contest, sides):
    """Of the median step over all rounds."""
    pairs = BATCH * contest.accumulation
    seconds = statistics.median(second for side in sides for second in side.seconds)
    if contest.reference == "counted":
        # A pair is met once an epoch, and the recipe has one epoch.
        seconds += statistics.median(side.reference_seconds for side in sides) * pairs / PAIRS
    return pairs / seconds


def add_options(parser):
    parser.add_argument("--binary", type=Path, help="gpt2-dpo; target/release/gpt2-dpo if not given")
    parser.add_argument("--python", default=sys.executable, help="a Python that has torch")
    parser.add_argument("--adapter", default="0", help="gpt2-dpo's --device")
    parser.add_argument("--torch-device", default="cuda", help="PyTorch's, for the rows of a GPU")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of both sides")
    parser.add_argument("--rounds", type=int, default=1, help="turns that each side gets")
    parser.add_argument("--quick", action="store_true", help="a tiny model and short pairs: a trial of the scripts")
    parser.add_argument("--before", type=Path, help="an earlier gpt2-dpo, to race against")
    parser.add_argument("--prefix", default="", help="put before each command: 'taskset -c 0,1'")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("contests", nargs="+", metavar="CONTEST", help="cpu-recipe, cpu-small, …")
    parser.add_argument("--json", type=Path, help="write the rows here")
    add_options(parser)
    args = parser.parse_args()
    known = contests(args)
    for name in args.contests:
        if name not in known:
            parser.error(f"no contest {name!r}; there are {', '.join(known)}")

    rows, failures = [], []
    with tempfile.TemporaryDirectory() as work:
        runner = Runner(args.threads, args.prefix, log=sys.stderr)
        arena = Arena(runner, args, Path(work))
        for name in args.contests:
            try:
                rows += arena.hold(known[name], args.rounds)[0]
            except Failed as failure:
                failures.append(f"{name}: {failure}")
    print(comparison(rows))
    if args.json:
        args.json.write_text(json.dumps([row.record() for row in rows], indent=2) + "\n")
    if failures or any(row.objection for row in rows):
        sys.exit("\n".join(failures) or "outputs differ: see the table")


if __name__ == "__main__":
    main()
