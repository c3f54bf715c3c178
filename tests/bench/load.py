"""Seconds and peak memory of every stage that handles rows, of the plan and of lineage, as the responses grow in number.

`python -m tests.bench.load [RESPONSES…]`: 10 sources, 5 responses to each prompt, 3 reward models; stub engines. Every
step is a process of its own, so that its memory is its own; programs are children, and measured with it. Of several sizes it
says how the seconds grow. Ends badly if a process needs more than 4 GiB, or a plan more than 5 s.
"""

import io
import itertools
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from flows.cli.lineage import show_lineage
from flows.plan import plan_all
from infra.launch import Launcher
from infra.settings import settings
from infra.store import Store
from tasks.execution import ensure_artifact
from tasks.models.stage import TinyGenerator, TinyReward, obtain_model
from tasks.pairs.rules import Best, SameSource
from tasks.pairs.stage import Pairs, SftRecords, build_pairs, build_sft_records
from tasks.prompts.sources import PromptFile
from tasks.prompts.stage import select_prompts
from tasks.responses.engines import Transformers
from tasks.responses.settings import Sampling
from tasks.responses.stage import sample_responses
from tasks.scores.settings import ScoringHow, SequenceClassifier
from tasks.scores.stage import annotate_rewards
from tasks.splits.stage import Shares, split_prompts
from tasks.stage import Step, lineage

SOURCES, SAMPLES, REWARDS = 10, 5, 3
NAMES = tuple(f"source-{number}" for number in range(SOURCES))
STUBBED = ("tasks.demo.pretrain", "tasks.responses.transformers_program", "tasks.scores.transformers_program")
MOST_GIB, MOST_PLAN_SECONDS = 4.0, 5.0
Took = dict[str, list[tuple[float, float, float, float]]]  # by stage, step by step: see `measured`
fork = multiprocessing.get_context("fork")


class Stub(Launcher):
    """Starts the stub instead of the programs that would need a model."""

    def run(self, module: str, job: dict, out: Path, watch=lambda: None, *place, **more) -> dict:
        if module in STUBBED:
            module, job = "tests.bench.stub", {**job, "module": module}
        return super().run(module, job, out, watch, *place, **more)


def chain(file: Path) -> list[Step]:
    """Sampling, three times the scoring, splits, records and pairs: everything of a run that grows with its rows."""
    prompts = select_prompts(**PromptFile(kind="file", path=str(file)).resolve("prompts"))
    splits = split_prompts(what=Shares(kind="shares", sft=0.3, preference=0.6, held_out=0.1, seed=1), prompts=prompts)
    models = [
        obtain_model(f"model · {name}", what=TinyGenerator(kind="tiny", steps=1, seed=number, skills={"copy": 1.0}))
        for number, name in enumerate(NAMES)
    ]
    responses = [
        sample_responses(
            f"per-model sampling · {name}",
            what=Sampling(n=SAMPLES, seed=1),
            prompts=prompts,
            model=model,
            how=Transformers(kind="transformers"),
        )
        for name, model in zip(NAMES, models, strict=True)
    ]
    lasts = []
    for number in range(REWARDS):
        reward = obtain_model("model · reward", what=TinyReward(kind="tiny-reward", steps=1, seed=number))
        scored = [
            annotate_rewards(
                "reward annotation",
                what=SequenceClassifier(kind="sequence-classifier"),
                how=ScoringHow(),
                **{"prompts": prompts, "model": model, "reward": reward, "responses": made},
            )
            for model, made in zip(models, responses, strict=True)
        ]
        given = {"prompts": prompts, "splits": splits, "responses": responses, "scores": scored}
        records = SftRecords(sources=NAMES, rule=Best(kind="best"))
        pairs = Pairs(sources=NAMES, rule=SameSource(kind="same-source"))
        lasts += [build_sft_records(what=records, **given), build_pairs(what=pairs, **given)]
    return lasts


def write_prompts(file: Path, count: int) -> Path:
    with file.open("w") as lines:
        for number in range(count):
            lines.write(json.dumps({"prompt": f"question {number} " * 10}) + "\n")
    return file


def measured(work: Callable[[], None]) -> tuple[float, float, float, float]:
    """Seconds, CPU seconds, and the peak GiB of a process that does the work and of the largest one that it starts."""
    receive, send = fork.Pipe(duplex=False)

    def child() -> None:
        began = time.monotonic()
        work()
        own, started = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = own.ru_utime + own.ru_stime + started.ru_utime + started.ru_stime
        send.send((time.monotonic() - began, cpu, own.ru_maxrss / 2**20, started.ru_maxrss / 2**20))

    process = fork.Process(target=child)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"a step ended with {process.exitcode}")
    return receive.recv()


def load(count: int, folder: Path) -> Took:
    """What each stage took, step by step."""
    os.environ["FUSE_WORKSPACE"] = str(folder / "space")
    settings.cache_clear()
    prompts = write_prompts(folder / "prompts.jsonl", count // (SOURCES * SAMPLES))
    lasts = chain(prompts)
    store, launcher, took = Store(str(folder / "store"), folder / "cache"), Stub(slots=1), {}
    took["plan, nothing made"] = [
        measured(lambda: print(len(plan_all(chain(prompts), store)), "steps", file=sys.stderr))
    ]
    for step in {step.address: step for last in lasts for step in lineage(last)}.values():
        numbers = measured(lambda step=step: ensure_artifact(step, store, launcher) and None)
        took.setdefault(step.stage.title, []).append(numbers)
        print(f"{step.label}: {numbers[0]:.1f} s, {max(numbers[2:]):.1f} GiB", file=sys.stderr, flush=True)
    took["plan, all made"] = [measured(lambda: plan_all(chain(prompts), store) and None)]
    more = write_prompts(folder / "more.jsonl", count // (SOURCES * SAMPLES) + 1)
    took["plan, another prompt"] = [measured(lambda: plan_all(chain(more), store) and None)]
    console = Console(file=io.StringIO())
    found = store.manifest(lasts[-1].stage.name, lasts[-1].fingerprint)
    took["show"] = [measured(lambda: show_lineage(console, found, store))]
    return took


def beyond(took: Took) -> list[str]:
    """What took more than is promised."""
    found = []
    for title, steps in took.items():
        seconds, _, own, started = (max(column) for column in zip(*steps, strict=True))
        if (most := max(own, started)) > MOST_GIB:
            found.append(f"{title}: {most:.1f} GiB in a process, at most {MOST_GIB:g} are promised")
        if title.startswith("plan") and seconds > MOST_PLAN_SECONDS:
            found.append(f"{title}: {seconds:.1f} s, at most {MOST_PLAN_SECONDS:g} are promised")
    return found


def growth(of: dict[int, Took]) -> list[str]:
    """CPU seconds of every stage by the number of responses, and by how much they grew from each number to the next."""
    lines = [f"{'CPU seconds':24} " + " ".join(f"{count:>11,}" for count in of) + "   grows by"]
    for title in next(iter(of.values())):
        spent = [sum(step[1] for step in took[title]) for took in of.values()]
        times = ", ".join(f"{after / max(before, 0.01):.1f}" for before, after in itertools.pairwise(spent))
        lines.append(f"{title:24} " + " ".join(f"{seconds:11.1f}" for seconds in spent) + f"   {times}")
    return lines


def main(counts: list[int]) -> None:
    of: dict[int, Took] = {}
    for count in counts:
        folder = Path(tempfile.mkdtemp(prefix="load-"))
        try:
            print(
                f"\n{count:,} responses, {count // (SOURCES * SAMPLES):,} prompts, {SOURCES} sources, {REWARDS} reward models"
            )
            print(f"{'':24} steps   seconds  CPU seconds  GiB  GiB of programs")
            of[count] = load(count, folder)
            for title, took in of[count].items():
                seconds, cpu, own, started = zip(*took, strict=True)
                print(
                    f"{title:24} {len(took):5} {sum(seconds):9.1f} {sum(cpu):12.1f} {max(own):4.1f} {max(started):16.1f}",
                    flush=True,
                )
        finally:
            shutil.rmtree(folder)
    print("", *growth(of), sep="\n")
    if problems := [f"{count:,} responses: {problem}" for count, took in of.items() for problem in beyond(took)]:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [30_000, 300_000])
