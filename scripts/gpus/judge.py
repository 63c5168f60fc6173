"""Judges what the compilers of real GPUs say of the kernels. scripts/check_gpus runs it.

usage: judge.py chips [CHIP…]                    a line for each chip: its name, driver and shim's setting
       judge.py kernels TRANSLATIONS             the SPIR-V files of the kernels that a GPU may run
       judge.py judge TRANSLATIONS RESULTS [CHIP…]   the verdict; fails if there is something to mend
       judge.py table TRANSLATIONS RESULTS [CHIP…]   all numbers as a table in Markdown
       judge.py bounds TRANSLATIONS RESULTS [CHIP…]  the numbers of bounds.toml as they would hold these results

TRANSLATIONS is target/translations, RESULTS the folder of the lines that pipelines.c prints, CHIP.tsv, and of
mesa.txt, the drivers' version. No chip means those of every run, `all` means all.
"""

import json
import sys
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

HERE = Path(__file__).parent
NVIDIA_WARP = 32


@dataclass(frozen=True)
class Kernel:
    """An entry point that a GPU may run, as kernels.json describes it."""

    label: str  # OP.VARIANT.ENTRY
    mixed: bool  # needs matrix units
    lanes: int  # invocations of a workgroup
    workgroup_bytes: int

    @property
    def file(self):
        """Its SPIR-V without runtime checks, in TRANSLATIONS."""
        folder = "matrix-vulkan1.3" if self.mixed else "vulkan1.3"
        return f"spirv/{folder}/{self.name}.spv"

    @property
    def name(self):
        return f"{self.label}.unchecked"


@dataclass(frozen=True)
class Code:
    """What a compiler says of one kernel's machine code."""

    registers: int  # in the chip's own unit
    spills: int  # registers stored to memory
    memory: int  # bytes of memory, beside workgroup memory, for variables of an invocation
    instructions: int
    subgroup: int  # lanes
    resident: float  # lanes that a core holds at once, as a share of the most that it can hold


@dataclass(frozen=True)
class Names:
    """The names that a driver gives to its statistics. Several are added up."""

    registers: str
    spills: tuple
    memory: tuple
    instructions: str


STATISTICS = {
    "radeon": Names("VGPRs", ("Spilled SGPRs", "Spilled VGPRs"), ("Scratch size",), "Instructions"),
    "intel": Names("Max live registers", ("Spills",), ("Scratch Memory Size",), "Instructions"),
    "nouveau": Names("Number of GPRs", ("Spills to memory",), ("SLM size",), "Instruction count"),
    "asahi": Names("GPRs", ("Spills",), ("Scratch",), "Instructions"),
    "freedreno": Names("Registers used", ("STP Count",), (), "Instruction Count"),
}


def resident(chip, kernel, subgroup, statistics):
    """The lanes of a kernel that a core holds at once, as a share of the most. chips.toml has the sources."""
    driver = chip["driver"]
    if driver == "radeon":
        return statistics["Subgroups per SIMD"] / chip["waves"]
    if driver == "freedreno":
        return statistics["Max Waves Per Core"] / chip["waves"]
    if driver == "nouveau":
        warps = -(-kernel.lanes // NVIDIA_WARP)
        limits = [statistics["Max warps/SM"] // warps, chip["groups"]]
        if kernel.workgroup_bytes:
            limits.append(chip["memory"] // (kernel.workgroup_bytes + chip["reserved"]))
        return min(limits) * warps / chip["waves"]
    if driver == "asahi":
        limits = [statistics["Threads"] // kernel.lanes]
        if kernel.workgroup_bytes:
            limits.append(chip["memory"] // kernel.workgroup_bytes)
        return min(limits) * kernel.lanes / chip["threads"]
    if driver == "intel":
        limits = [chip["threads"] // -(-kernel.lanes // subgroup)]
        if kernel.workgroup_bytes:
            size = next(kib * 1024 for kib in chip["sizes"] if kib * 1024 >= kernel.workgroup_bytes)
            limits.append(chip["memory"] // size)
        return min(limits) * kernel.lanes / (chip["threads"] * chip["lanes"])
    raise ValueError(f"chips.toml: unknown driver {driver}")


def percent(share):
    return round(100 * share, 1)


def code_of(chip, kernel, subgroup, statistics):
    """A `Code` out of a driver's statistics. A name that the driver no longer has is an error."""
    names = STATISTICS[chip["driver"]]
    total = lambda keys: sum(statistics[key] for key in keys)
    return Code(
        registers=statistics[names.registers],
        spills=total(names.spills),
        memory=total(names.memory),
        instructions=statistics[names.instructions],
        subgroup=subgroup,
        resident=resident(chip, kernel, subgroup, statistics),
    )


@dataclass
class Answers:
    """All that one driver said."""

    device: str  # empty: it found none
    codes: dict  # a kernel's name: its machine codes, mostly one
    unsupported: set  # names of kernels whose matrices the driver does not list
    refused: dict  # a kernel's name: the driver's error


def read_answers(lines, chip, kernels):
    """Reads the lines of pipelines.c."""
    by_name = {kernel.name: kernel for kernel in kernels}
    answers = Answers("", {}, set(), {})
    for line in lines:
        name, kind, *rest = line.rstrip("\n").split("\t")
        if name == "device":
            answers.device = rest[0]
        elif kind == "compiled":
            subgroup, text = int(rest[0]), rest[1]
            pairs = (pair.split("=") for pair in text.split("|"))
            statistics = {key: int(float(value)) for key, value in pairs}
            code = code_of(chip, by_name[name], subgroup, statistics)
            answers.codes.setdefault(name, []).append(code)
        elif kind == "unsupported":
            answers.unsupported.add(name)
        elif kind == "refused":
            answers.refused[name] = rest[0]
        else:
            raise ValueError(f"not a line of pipelines.c: {line}")
    return answers


def names_kernel(rule, kernel):
    """True if a rule of bounds.toml is for a kernel."""
    return any(fnmatchcase(kernel.label, pattern) for pattern in rule["kernels"])


def names_chip(exception, chip, driver):
    """True if an exception of bounds.toml is for a chip, by its name or its driver's."""
    return chip in exception["on"] or driver in exception["on"]


def judge_code(chip, driver, kernel, code, bounds, is_bounded):
    """What is wrong with a machine code, in words. `is_bounded`: it is of the Mesa for which the numbers were set."""
    exceptions = bounds.get("exception", [])
    allowed = [rule for rule in exceptions if names_chip(rule, chip, driver) and names_kernel(rule, kernel)]
    wrong = []
    for what, unit in (("spills", "registers spilled"), ("memory", "bytes of memory for variables")):
        value = getattr(code, what)
        most = max([rule.get(what, 0) for rule in allowed], default=0)
        if value and (not most or is_bounded and value > most):
            wrong.append(f"{value} {unit}, at most {most}")
    if is_bounded:
        for rule in filter(lambda rule: names_kernel(rule, kernel), bounds["bound"]):
            most = rule.get("registers", {}).get(chip)
            least = rule.get("resident", {}).get(chip)
            if most is not None and code.registers > most:
                wrong.append(f"{code.registers} registers, at most {most}")
            if least is not None and percent(code.resident) < least:
                wrong.append(f"{percent(code.resident)} % of the lanes resident, at least {least} %")
    if not code.resident:
        wrong.append("a workgroup does not fit")
    return wrong


def judge_chip(chip, facts, kernels, answers, bounds, is_bounded):
    """What is wrong on a chip, in words."""
    if not answers.device:
        return [f"{facts['name']} ({chip}): the driver finds no device"]
    wrong = []
    for kernel in kernels:
        where = f"{kernel.label} on {facts['name']} ({chip})"
        if kernel.name in answers.refused:
            wrong.append(f"{where}: refused, VkResult {answers.refused[kernel.name]}")
        elif kernel.name in answers.unsupported:
            if not kernel.mixed:
                wrong.append(f"{where}: has matrices")
        elif kernel.name not in answers.codes:
            wrong.append(f"{where}: no answer, the driver ended before or in it")
        else:
            for code in answers.codes[kernel.name]:
                found = judge_code(chip, facts["driver"], kernel, code, bounds, is_bounded)
                wrong.extend(f"{where}: {what}" for what in found)
    return wrong


def codes_of(rule, kernels, answer):
    """The machine codes of one driver for the kernels of a rule of bounds.toml."""
    return [code for kernel in kernels if names_kernel(rule, kernel) for code in answer.codes.get(kernel.name, [])]


def idle_rules(facts, kernels, answers, bounds):
    """The rules of bounds.toml that hold nothing, in words."""
    idle = []
    for rule in bounds["bound"] + bounds.get("exception", []):
        if not any(names_kernel(rule, kernel) for kernel in kernels):
            idle.append(f"{', '.join(rule['kernels'])}: there is no such kernel")
    for rule in bounds.get("exception", []):
        there = [answer for chip, answer in answers.items() if names_chip(rule, chip, facts[chip]["driver"])]
        codes = [code for answer in there for code in codes_of(rule, kernels, answer)]
        for what in ("spills", "memory"):
            if what in rule and codes and not any(getattr(code, what) for code in codes):
                idle.append(f"{', '.join(rule['kernels'])}: needs no exception for {what} any more")
    return idle


def tight(bounds, kernels, answers):
    """The numbers of bounds.toml as they would hold these answers and no worse ones."""
    lines = []
    for rule in bounds["bound"]:
        lines.append(f"kernels = {json.dumps(rule['kernels'])}")
        codes = {chip: codes_of(rule, kernels, answer) for chip, answer in answers.items()}
        codes = {chip: found for chip, found in codes.items() if found}
        most = [f"{chip} = {max(code.registers for code in found)}" for chip, found in codes.items()]
        least = [f"{chip} = {min(percent(code.resident) for code in found):g}" for chip, found in codes.items()]
        lines += [f"registers = {{ {', '.join(most)} }}", f"resident = {{ {', '.join(least)} }}", ""]
    return "\n".join(lines)


def cell(answers, kernel):
    """A kernel's numbers on a chip, for the table."""
    if kernel.name in answers.unsupported:
        return "—"
    codes = answers.codes.get(kernel.name)
    if not codes:
        return "**none**"
    words = []
    for code in codes:
        text = f"{code.registers} · {percent(code.resident):g} % · {code.instructions}"
        if code.spills:
            text += f" · **{code.spills} spilled**"
        if code.memory:
            text += f" · **{code.memory} B**"
        words.append(text)
    return "; ".join(words)


def table(facts, kernels, answers):
    """All numbers in Markdown: registers, resident lanes, instructions."""
    chips = list(answers)
    lines = [
        "| kernel | lanes | workgroup B | " + " | ".join(facts[chip]["name"] for chip in chips) + " |",
        "| --- " * (3 + len(chips)) + "|",
    ]
    for kernel in kernels:
        cells = [cell(answers[chip], kernel) for chip in chips]
        if any(text != "—" for text in cells):
            lines.append(f"| {kernel.label} | {kernel.lanes} | {kernel.workgroup_bytes} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def read_toml(name):
    with open(HERE / name, "rb") as file:
        return tomllib.load(file)


def chosen(names):
    """The facts of the chips of these names."""
    facts = read_toml("chips.toml")
    if not names:
        return {chip: f for chip, f in facts.items() if f.get("often")}
    if names == ["all"]:
        return facts
    for name in names:
        if name not in facts:
            sys.exit(f"no chip {name}: there are {', '.join(facts)}")
    return {name: facts[name] for name in names}


def listed(translations):
    """The entry points of kernels.json: those that a GPU may run, and the number of the others."""
    text = (translations / "kernels.json").read_text()
    kernels = []
    entries = json.loads(text)
    for entry in entries:
        if entry["on_gpus"]:
            words = [entry["op"], entry["variant"], entry["entry"]]
            x, y, z = entry["workgroup"]
            label = ".".join(word for word in words if word)
            kernels.append(Kernel(label, entry["mixed"], x * y * z, entry["workgroup_bytes"]))
    return kernels, len(entries) - len(kernels)


def print_verdict(mesa, facts, kernels, others, answers):
    """Prints the verdict on what drivers of a version of Mesa said; true if there is nothing to mend."""
    bounds = read_toml("bounds.toml")
    is_bounded = mesa == bounds["mesa"]
    # The shims are made for the Mesa of the bounds. That another one finds nothing behind them says nothing of kernels.
    lost = [chip for chip, answer in answers.items() if not answer.device and not is_bounded]
    answers = {chip: answer for chip, answer in answers.items() if chip not in lost}
    wrong = []
    for chip, answer in answers.items():
        wrong += judge_chip(chip, facts[chip], kernels, answer, bounds, is_bounded)
    compiled = sum(len(answer.codes) for answer in answers.values())
    left_out = sum(len(answer.unsupported) for answer in answers.values())
    print(
        f"ran      {len(kernels)} kernels by Mesa {mesa}'s compilers for {', '.join(answers)}: {compiled} compiled, "
        f"{left_out} need matrices that the driver does not list; {others} for software devices left out; "
        f"{len(wrong)} to mend"
    )
    for line in wrong:
        print(f"MEND     {line}")
    for line in idle_rules(facts, kernels, answers, bounds):
        print(f"NOTE     scripts/gpus/bounds.toml: {line}")
    if lost:
        print(f"NOT RUN  the compilers for {', '.join(lost)}: Mesa {mesa} finds no device behind scripts/gpus' shims")
    if not is_bounded:
        print(f"NOT RUN  the numbers of scripts/gpus/bounds.toml: they are set for Mesa {bounds['mesa']}")
    return not wrong


def main():
    match sys.argv[1:]:
        case ["chips", *names]:
            for chip, f in chosen(names).items():
                print(chip, f["driver"], f["shim"])
        case ["kernels", translations]:
            for kernel in listed(Path(translations))[0]:
                print(Path(translations) / kernel.file)
        case ["judge" | "table" | "bounds" as command, translations, results, *names]:
            facts = chosen(names)
            kernels, others = listed(Path(translations))
            answers = {}
            for chip, f in facts.items():
                with open(Path(results) / f"{chip}.tsv", encoding="utf-8") as lines:
                    answers[chip] = read_answers(lines, f, kernels)
            if command == "table":
                print(table(facts, kernels, answers))
            elif command == "bounds":
                print(tight(read_toml("bounds.toml"), kernels, answers))
            else:
                mesa = (Path(results) / "mesa.txt").read_text().strip()
                if not print_verdict(mesa, facts, kernels, others, answers):
                    sys.exit(1)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
