"""The suites for evaluation, and the judge of open answers: values of recipes and of examinations."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks.stage import Checking
from tasks.evaluation.benchmarks.eval_plus import EvalPlus
from tasks.evaluation.benchmarks.live_bench import LiveBench
from tasks.evaluation.benchmarks.live_bench_coding import LiveBenchCoding
from tasks.evaluation.benchmarks.live_code_bench import LiveCodeBench
from tasks.evaluation.benchmarks.lm_eval import LmEvalBenchmark
from tasks.evaluation.judged import questions as opening
from tasks.evaluation.judged.judgements import Judging
from tasks.prompts.stage import PromptSource
from tasks.stage import Exact

NAME = "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$"


class Decoding(Exact):
    """How the models answer. Some papers decode greedily, others sample: list a suite twice, under two names, for both."""

    name: str = Field(default="", pattern=f"{NAME}|^$", description="default: the suite's own name")
    temperature: float = Field(default=0.0, ge=0, description="0 is greedy decoding")
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_new_tokens: int = Field(default=2048, gt=0)


class Judged(opening.PublishedSuite, Decoding):
    """A suite of open questions; a judge rates the answers."""


class Checked(Decoding):
    """Prompts with gold answers, so that a program can check the models' answers."""

    suite: Literal["checked"]
    prompts: PromptSource  # with gold: correct answers or tests
    checks: Checking = Checking()


class Benchmarked(LmEvalBenchmark):
    """Benchmarks of lm-eval. The benchmark's tasks define the decoding."""

    name: str = Field(default="", pattern=f"{NAME}|^$", description="default: lm-eval")


class Live(LiveBench, Decoding):
    """LiveBench; it needs no judge."""

    max_new_tokens: int = Field(default=4096, gt=0)


class LiveCode(LiveCodeBench, Decoding):
    """LiveCodeBench. Its programs run in the sandbox, 6 seconds for each case."""

    max_new_tokens: int = Field(default=4096, gt=0)
    checks: Checking = Checking(memory_megabytes=4096)


class LiveCoding(LiveBenchCoding, Decoding):
    """LiveBench's coding category. Its programs run in the sandbox, 6 seconds for each case."""

    max_new_tokens: int = Field(default=4096, gt=0)
    checks: Checking = Checking(memory_megabytes=4096)


class Plus(EvalPlus, Decoding):
    """HumanEval+ or MBPP+. The programs run in the sandbox."""

    checks: Checking = Checking(seconds=60, memory_megabytes=4096)


Coding = LiveCode | LiveCoding | Plus
DecodedSuite = Judged | Checked | Live | Coding
Suite = Judged | Checked | Benchmarked | Live | Coding
AnySuite = Annotated[Suite, Field(discriminator="suite")]


class Judge(Exact):
    """A judge of open answers, at an endpoint."""

    model: str = Field(min_length=1, description="the model's name at the endpoint")
    revision: str = ""
    both_orders: bool = False
    unanswered: float = Field(default=0.01, ge=0, le=1)

    def of(self, suite: str) -> Judging:
        return Judging(suite=suite, **{name: getattr(self, name) for name in Judge.model_fields})


def suite_name(suite: Suite) -> str:
    return suite.name or suite.suite
