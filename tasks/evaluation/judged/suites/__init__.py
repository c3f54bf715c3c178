"""The suites by name; each is a module of pure functions."""

from types import ModuleType

from tasks.evaluation.judged.suites import align_bench, alpaca_eval, arena_hard, mt_bench

SUITES: dict[str, ModuleType] = {
    "alpaca-eval": alpaca_eval,
    "arena-hard": arena_hard,
    "mt-bench": mt_bench,
    "align-bench": align_bench,
}
