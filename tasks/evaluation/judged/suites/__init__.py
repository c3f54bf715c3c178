"""The judged suites by name."""

from tasks.evaluation.judged.suites.align_bench import AlignBench
from tasks.evaluation.judged.suites.alpaca_eval import AlpacaEval
from tasks.evaluation.judged.suites.arena_hard import ArenaHard
from tasks.evaluation.judged.suites.arena_hard_v2 import ArenaHardV2
from tasks.evaluation.judged.suites.judged_suite import JudgedSuite
from tasks.evaluation.judged.suites.mt_bench import MTBench

SUITES: dict[str, JudgedSuite] = {
    "alpaca-eval": AlpacaEval(),
    "arena-hard": ArenaHard(),
    "arena-hard-v2.0": ArenaHardV2(),
    "mt-bench": MTBench(),
    "align-bench": AlignBench(),
}
