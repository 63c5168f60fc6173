"""Everything that is to be measured on a machine with a real GPU, in one command and under ten minutes.

    python3 benches/peers/measure_gpu.py OUT
    python3 benches/peers/measure_gpu.py OUT --binary gpt2-dpo --tests library-*
    python3 benches/peers/measure_gpu.py OUT --adapter llvmpipe --torch-device cpu --quick

Needs Linux or macOS, a Python with torch, and no network. Without --binary it builds one on the spot (cargo, with
the dependencies at hand). --tests names the binary built with `cargo test --no-run --test library`, of which the
golden model's tests and the kernels' are run; they read their fixtures where it was built. The last line above is a trial without a GPU.

Each part has a time limit, and one that fails is shown as failed while the others still run; none begins after
--budget seconds. OUT gets report.md (the tables, which are printed too), results.json, log.txt (all output of all
programs) and what `gpt2-dpo bench` and `selftest` wrote.
"""

import argparse
import hashlib
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from compare import ROOT, Arena, add_options, contests, read_jsonl
from runner import Failed, Runner
from table import Row, comparison, markdown

FIRST_STEP_SECONDS = 3.0
IDLE_PERCENT = 5
LINEAR_PERCENT = 60
MEMORY_RATIO = 0.5
RUN_SECONDS = 100  # for one training run of either side; torch.compile takes most of a minute
FAILED = "FAILED"
TESTS = ("golden::", "ops::")
PYTORCH_FOR_MEMORY = "PyTorch f32, TF32 off, eager"


class Session:
    """The parts that are done, their rows, and what later parts need of earlier ones."""

    def __init__(self, args, arena, out):
        self.args, self.arena, self.out = args, arena, out
        self.known = contests(args)
        self.preset = self.known["gpu"].preset
        self.parts, self.rows, self.sides = [], [], {}

    def part(self, name, function):
        """Runs one part; whatever goes wrong in it is written down and stops nothing else."""
        began = time.monotonic()
        try:
            result = function() or "done"
        except Failed as failure:
            result = f"{FAILED}: {failure}"
        except Exception as error:  # a mistake in a part must not cost the other parts
            result = f"{FAILED}: {type(error).__name__}: {error}"
        seconds = f"{time.monotonic() - began:.1f} s"
        self.parts.append((name, result, seconds))
        print(f"{name}: {result} ({seconds})", flush=True)
        self.write()

    def write(self):
        """The report as it stands, so that a session cut short leaves what it has."""
        self.out.joinpath("report.md").write_text(self.report(), encoding="utf-8")
        rows = [row.record() for row in self.rows]
        sides = {name: [asdict(side) for side in rounds] for name, rounds in self.sides.items()}
        results = {"parts": self.parts, "rows": rows, "rounds": sides}
        self.out.joinpath("results.json").write_text(json.dumps(results, indent=2) + "\n")

    def report(self):
        when = time.strftime("%Y-%m-%d")
        trial = "A trial of the scripts with a tiny model: its figures say nothing.\n\n" if self.args.quick else ""
        return trial + (
            f"{when}, commit {commit()}, {platform.platform()}, PyTorch on {self.args.torch_device}\n\n"
            + markdown(("part", "result", "time"), self.parts) + "\n\n" + comparison(self.rows) + "\n"
        )

    def ours(self, *arguments, limit):
        return self.arena.runner.run([self.arena.binary, *arguments], limit)

    def offers(self, *arguments):
        """Whether the program's own help shows this: a command, or a command and an option."""
        *command, last = arguments
        done = self.arena.runner.attempt([self.arena.binary, *command, "--help"], 10)
        return last in done.output.split()

    # The parts.

    def build(self):
        if self.args.binary:
            return "brought along"
        self.arena.runner.run([
            "cargo", "build", "--release", "--offline", "--manifest-path", ROOT / "Cargo.toml",
            "--target-dir", ROOT / "target",
        ], 300)

    def models(self):
        self.arena.model(self.preset)

    def devices(self):
        return self.ours("devices", limit=30).output.splitlines()[-1]

    def first_step(self, fresh):
        """From process start to the first step's metrics, beyond reading the weights."""
        if fresh:
            self.arena.forget()
        weights = self.arena.model(self.preset) / "model.safetensors"
        began = time.monotonic()
        with weights.open("rb") as file:
            while file.read(1 << 24):
                pass
        reading = time.monotonic() - began
        done, _ = self.arena.train(self.preset, 1, ("--device", self.args.adapter))
        seconds = done.first_line_seconds - reading
        against = "nothing kept from an earlier run" if fresh else "autotune table and reference kept"
        target = None if fresh else FIRST_STEP_SECONDS
        self.rows.append(
            Row("GPU, from process start to the first step", against, "s", seconds, None, target, at_most=True)
        )
        return f"{seconds:.2f} s, and {reading:.2f} s to read the file"

    def selftest(self, precision):
        if precision != "f32" and not self.offers("selftest", "--precision"):
            raise Failed("this gpt2-dpo has no --precision")
        options = () if precision == "f32" else ("--precision", precision)
        found = self.out / f"selftest-{precision}.json"
        done = self.ours("selftest", "--device", self.args.adapter, "--json", found, *options, limit=90)
        return done.output.splitlines()[-1]

    def test(self, binary, tests):
        done = self.arena.runner.run([binary, tests], 120)
        results = [line for line in done.output.splitlines() if line.startswith("test result:")]
        return results[-1] if results else "done"

    def race(self, name, peer):
        """One peer of a contest, so that another's failure takes nothing along."""
        if name == "gpu-mixed" and not self.offers("train", "--precision"):
            raise Failed("this gpt2-dpo has no --precision")
        contest = replace(self.known[name], peers=(peer,))
        rows, sides = self.arena.hold(contest, self.args.rounds)
        self.rows += rows
        self.sides[peer.against] = sides[peer.against]
        self.sides.setdefault(f"ours: {contest.where}", []).extend(sides["ours"])
        objections = [row.objection for row in rows if row.objection]
        if objections:
            raise Failed(objections[0])

    def races(self, name):
        return [(f"{name}: {peer.against}", partial(self.race, name, peer)) for peer in self.known[name].peers]

    def run_bench(self, precision):
        """What gpt2-dpo says of itself, and its memory beside PyTorch's."""
        if not self.offers("bench"):
            raise Failed("this gpt2-dpo has no bench")
        result = self.out / f"bench-{precision}.json"
        options = () if precision == "f32" else ("--precision", precision)
        prompt, response = self.arena.tokens
        self.ours(
            "bench", "--device", self.args.adapter, "--model", self.arena.model(self.preset),
            "--max-prompt-tokens", prompt, "--max-response-tokens", response, "--json", result, *options,
            limit=120,
        )
        # Batch and accumulation are the recipe's, which are its defaults.
        report, where = json.loads(result.read_text(encoding="utf-8")), f"GPU, recipe step, {precision}"
        idle, used = report["step"]["idle"], report["step"]["peak_bytes"]
        if idle is not None:
            self.rows.append(
                Row(f"{where}: device idle", "", "%", 100 * idle, None, IDLE_PERCENT, at_most=True)
            )
        if precision == "f32":
            self.rows.append(Row(
                "GPU, linear", "multiply-add ceiling", "%", 100 * linear_share(report), None, LINEAR_PERCENT
            ))
        theirs = self.sides.get(PYTORCH_FOR_MEMORY)
        if theirs and used is not None:
            other = max(side.memory_bytes for side in theirs)
            self.rows.append(Row(
                f"{where}: peak device memory", PYTORCH_FOR_MEMORY, "MiB", used / 2**20, other / 2**20,
                MEMORY_RATIO, at_most=True,
            ))

    def determinism(self):
        """Two runs give the same weights, to the byte, and the same metrics."""
        found = []
        for _ in range(2):
            _, out = self.arena.train(self.preset, 3, ("--device", self.args.adapter))
            digest = hashlib.sha256(out.joinpath("model.safetensors").read_bytes()).hexdigest()
            found.append((digest, [(row["loss"], row["grad_norm"]) for row in read_jsonl(out / "metrics.jsonl")]))
        if found[0] != found[1]:
            raise Failed("two runs gave different bytes")
        return f"two runs of 3 steps: equal bytes, {found[0][0][:12]}"


def linear_share(report):
    """All linear products' work over their time, as a share of the multiply-add ceiling."""
    rows = [row for row in report["kernels"] if row["kernel"].startswith("linear/")]
    flops = sum(row["calls"] * row["flops"] for row in rows)
    seconds = sum(row["calls"] * row["speed"]["seconds"] for row in rows)
    return flops / seconds / report["ceilings"]["compute"]["per_second"]


def commit():
    done = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--tests", type=Path, help="the test binary to run")
    parser.add_argument("--budget", type=float, default=540, help="seconds for all parts")
    parser.add_argument("--skip", metavar="REGEX", help="leave out the parts whose names match")
    add_options(parser)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, args.out.joinpath("log.txt").open("w", encoding="utf-8") as log:
        runner = Runner(args.threads, args.prefix, args.budget, log)
        arena = Arena(runner, args, Path(work), RUN_SECONDS)
        session = Session(args, arena, args.out)
        parts = [
            ("build", session.build),
            ("models and pairs", session.models),
            ("devices", session.devices),
            ("first start", lambda: session.first_step(fresh=True)),
            ("later start", lambda: session.first_step(fresh=False)),
            ("selftest f32", lambda: session.selftest("f32")),
            ("selftest mixed", lambda: session.selftest("mixed")),
            *session.races("gpu"),
            *session.races("gpu-mixed"),
            ("bench f32", lambda: session.run_bench("f32")),
            ("bench mixed", lambda: session.run_bench("mixed")),
            ("determinism", session.determinism),
            *[(f"test {tests}", partial(session.test, args.tests, tests)) for tests in TESTS if args.tests],
            *session.races("gpu-compiled"),
        ]
        for name, function in parts:
            if not (args.skip and re.search(args.skip, name)):
                session.part(name, function)
    print("\n" + session.report())
    failed = [name for name, result, _ in session.parts if result.startswith(FAILED)]
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
