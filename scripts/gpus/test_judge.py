"""Tests of judge.py. scripts/check_gpus runs them first: python3 scripts/gpus/test_judge.py"""

import unittest

from judge import Kernel, judge_chip, idle_rules, percent, read_answers, read_toml, resident, table

FACTS = read_toml("chips.toml")
TILE = Kernel("linear.wide.nn", mixed=False, lanes=128, workgroup_bytes=12288)
ROW = Kernel("adamw.update", mixed=False, lanes=64, workgroup_bytes=0)
MATRIX = Kernel("linear.matrix16.nn", mixed=True, lanes=128, workgroup_bytes=14336)

DEVICE = "device\tNVK\tNVK\tMesa 26.1.6-1~bpo13+1\n"
# Names and numbers of an NVK of Mesa 26.1.6.
NVK = (
    "linear.wide.nn.unchecked\tcompiled\t32\tInstruction count=4651|Static cycle count=160519|Max warps/SM=12|"
    "Spills to memory={spills}|Fills from memory=0|Spills to reg=4|Fills from reg=2|Code size=74416|"
    "Number of GPRs={registers}|SLM size={memory}\n"
)


def nvk(spills=0, registers=136, memory=0):
    return NVK.format(spills=spills, registers=registers, memory=memory)


def answers_of(*lines, kernels=(TILE,), device=DEVICE):
    return read_answers([*device.splitlines(), *lines], FACTS["ga102"], kernels)


def rules(bound=(), exception=()):
    return {"bound": list(bound), "exception": list(exception)}


def wrong(answers, bounds, kernels=(TILE,), is_bounded=True):
    return judge_chip("ga102", FACTS["ga102"], kernels, answers, bounds, is_bounded)


class Residency(unittest.TestCase):
    """The numbers of the chips against calculations by hand."""

    def of(self, chip, kernel, subgroup, **statistics):
        statistics = {name.replace("_", " "): value for name, value in statistics.items()}
        return percent(resident(FACTS[chip], kernel, subgroup, statistics))

    def test_amd_and_qualcomm_state_it(self):
        self.assertEqual(self.of("navi31", TILE, 64, Subgroups_per_SIMD=10), 31.2)
        self.assertEqual(self.of("x185", TILE, 64, Max_Waves_Per_Core=4), 25)

    def test_nvidia(self):
        warps = {"Max warps/SM": 12}
        # Registers: 12 of 48 warps, 3 groups of 4. Memory would hold 7 groups of 12288 + 1024 bytes.
        self.assertEqual(percent(resident(FACTS["ga102"], TILE, 32, warps)), 25)
        # Registers allow 48 warps; memory 7 groups of 4 warps, on Turing 5 of its 32.
        self.assertEqual(percent(resident(FACTS["ga102"], TILE, 32, {"Max warps/SM": 48})), 58.3)
        self.assertEqual(percent(resident(FACTS["tu102"], TILE, 32, {"Max warps/SM": 32})), 62.5)
        # Groups of two warps: an SM holds 16 groups, which are 32 of 48 warps.
        self.assertEqual(percent(resident(FACTS["ga102"], ROW, 32, {"Max warps/SM": 48})), 66.7)

    def test_apple(self):
        # 61440 bytes hold 5 groups of 12288, registers 384 // 128 = 3.
        self.assertEqual(self.of("m1", TILE, 32, Threads=1024), 62.5)
        self.assertEqual(self.of("m1", TILE, 32, Threads=384), 37.5)
        self.assertEqual(self.of("m1", ROW, 32, Threads=832), 81.2)
        self.assertEqual(self.of("m1", TILE, 32, Threads=64), 0)

    def test_intel(self):
        # In groups of 16 threads of 8 lanes: threads allow 8 groups, memory 8 (12288 bytes take 16 KiB).
        self.assertEqual(self.of("dg2", TILE, 8), 50)
        # Battlemage has a size of 24 KiB but none of 12: 16 KiB, 8 groups; 64 threads hold 8 groups of 8.
        self.assertEqual(self.of("bmg", TILE, 16), 50)
        self.assertEqual(self.of("bmg", ROW, 32), 100)


class Verdict(unittest.TestCase):
    def test_nothing_wrong(self):
        self.assertEqual(wrong(answers_of(nvk()), rules()), [])

    def test_every_fault_is_named(self):
        faults = {
            "3 registers spilled, at most 0": answers_of(nvk(spills=3)),
            "256 bytes": answers_of(nvk(memory=256)),
            "refused, VkResult -3": answers_of("linear.wide.nn.unchecked\trefused\t-3\n"),
            "no answer": answers_of(),
            "has matrices": answers_of("linear.wide.nn.unchecked\tunsupported\tmatrices of 16\n"),
        }
        for word, answers in faults.items():
            [line] = wrong(answers, rules())
            self.assertIn(word, line)
            self.assertIn("linear.wide.nn on NVIDIA RTX 3090 (ga102)", line)
        [line] = wrong(answers_of(device=""), rules())
        self.assertIn("NVIDIA RTX 3090 (ga102): the driver finds no device", line)

    def test_matrices_may_be_missing_where_they_are_needed(self):
        answers = answers_of("linear.matrix16.nn.unchecked\tunsupported\tmatrices of 16\n", kernels=[MATRIX])
        self.assertEqual(wrong(answers, rules(), [MATRIX]), [])

    def test_bounds_hold_the_worst_code(self):
        bound = {"kernels": ["linear.*"], "registers": {"ga102": 136}, "resident": {"ga102": 25}}
        self.assertEqual(wrong(answers_of(nvk()), rules([bound])), [])
        [line] = wrong(answers_of(nvk(), nvk(registers=137)), rules([bound]))
        self.assertIn("137 registers, at most 136", line)
        [line] = wrong(answers_of(nvk()), rules([{**bound, "resident": {"ga102": 25.1}}]))
        self.assertIn("25.0 % of the lanes resident, at least 25.1 %", line)

    def test_an_exception_is_for_its_driver_and_its_size(self):
        exception = {"kernels": ["linear.*"], "on": ["nouveau"], "memory": 256}
        self.assertEqual(wrong(answers_of(nvk(memory=256)), rules((), [exception])), [])
        self.assertEqual(len(wrong(answers_of(nvk(memory=260)), rules((), [exception]))), 1)
        self.assertEqual(len(wrong(answers_of(nvk(spills=1)), rules((), [exception]))), 1)
        self.assertEqual(wrong(answers_of(nvk(memory=256)), rules((), [{**exception, "on": ["ga102"]}])), [])
        elsewhere = {**exception, "on": ["intel", "tu102"]}
        self.assertEqual(len(wrong(answers_of(nvk(memory=256)), rules((), [elsewhere]))), 1)

    def test_another_mesa_holds_no_numbers_but_spills(self):
        bound = {"kernels": ["linear.*"], "registers": {"ga102": 1}}
        exception = {"kernels": ["linear.*"], "on": ["nouveau"], "memory": 256}
        bounds = rules([bound], [exception])
        self.assertEqual(wrong(answers_of(nvk(memory=260)), bounds, is_bounded=False), [])
        self.assertEqual(len(wrong(answers_of(nvk(spills=1)), bounds, is_bounded=False)), 1)

    def test_rules_that_hold_nothing_are_named(self):
        unused = {"kernels": ["linear.*"], "on": ["nouveau"], "memory": 256}
        unknown = {"kernels": ["liner.*"]}
        used = {"ga102": answers_of(nvk(memory=256))}
        facts = {"ga102": FACTS["ga102"]}
        self.assertEqual(idle_rules(facts, [TILE], used, rules((), [unused])), [])
        [line] = idle_rules(facts, [TILE], {"ga102": answers_of(nvk())}, rules((), [unused]))
        self.assertIn("no exception for memory", line)
        [line] = idle_rules(facts, [TILE], used, rules([unknown]))
        self.assertIn("no such kernel", line)


class Reading(unittest.TestCase):
    def test_a_statistic_without_its_name_is_an_error(self):
        with self.assertRaises(KeyError):
            answers_of(nvk().replace("SLM size", "Local size"))

    def test_a_line_of_another_kind_is_an_error(self):
        with self.assertRaises(ValueError):
            answers_of("linear.wide.nn.unchecked\tcrashed\n")

    def test_table(self):
        answers = {"ga102": answers_of(nvk(spills=3, memory=16))}
        last = table({"ga102": FACTS["ga102"]}, [TILE], answers).splitlines()[-1]
        self.assertEqual(
            last, "| linear.wide.nn | 128 | 12288 | 136 · 25 % · 4651 · **3 spilled** · **16 B** |"
        )

    def test_bounds_toml(self):
        bounds = read_toml("bounds.toml")
        often = {chip for chip, facts in FACTS.items() if facts.get("often")}
        for rule in bounds["bound"]:
            self.assertTrue(rule["why"])
            self.assertEqual(rule["registers"].keys(), rule["resident"].keys())
            self.assertLessEqual(rule["registers"].keys(), often)
        for rule in bounds["exception"]:
            self.assertTrue(rule["why"])
            drivers = {facts["driver"] for facts in FACTS.values()}
            self.assertLessEqual(set(rule["on"]), drivers | FACTS.keys())
            self.assertTrue({"spills", "memory"} & rule.keys())


if __name__ == "__main__":
    unittest.main()
