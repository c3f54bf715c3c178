"""Several sampling steps of a model in one program: it starts once, and every row is the row that each step alone makes."""

import pytest

from infra.launch import Launcher
from tasks.execution import Share, ensure_artifact, make_share
from tasks.responses.engines import Transformers
from tasks.stage import Step
from tests.responses.steps import sampled
from tests.workplace import Workplace

ENGINE = Transformers(batch_size=4, batches_per_part=1, part_seconds=0)


class Counting(Launcher):
    """Keeps the name of every program that it starts."""

    def __init__(self):
        super().__init__(slots=2, threads=1)
        self.started: list[str] = []

    def run(self, module, *given, **named):
        self.started.append(module)
        return super().run(module, *given, **named)


def samples(n: int = 2) -> Step:
    return sampled(ENGINE, n=n, temperature=0.9)


def greedy(**sampling) -> Step:
    return sampled(ENGINE, n=1, temperature=0.0, **sampling)


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """The digests of both artifacts when each step starts its own program."""
    place = Workplace(tmp_path_factory.mktemp("apart"), Counting())
    found = {step.address: place.made(step).content for step in (samples(), greedy())}
    assert len(place.launcher.started) == 2 and len(found) == 2
    return found


@pytest.fixture
def place(workplace):
    """A workplace that counts programs, with the inputs of both steps."""
    place = Workplace(workplace.folder, Counting())
    for inputs in samples().inputs.values():
        place.made(inputs[0])
    return place


def together(place, step: Step, *beside: Step, observe=lambda *said: None) -> dict[str, str]:
    """Makes the first step with the others beside it, then the others, as a run does."""
    made = [ensure_artifact(step, place.store, place.launcher, observe, beside=beside)]
    made += [ensure_artifact(each, place.store, place.launcher) for each in beside]
    return {f"{each.stage}/{each.fingerprint}": each.content for each in made}


def rows_in(place, step: Step) -> int:
    return sum(part.rows for part in place.store.parts(step.pool))


@pytest.mark.parametrize("there", ["nothing", "samples", "greedy", "some of both"])
def test_one_program_makes_what_is_missing_and_the_rows_are_the_same(place, apart, there):
    before = {"samples": [samples()], "greedy": [greedy()], "some of both": [samples(1), greedy()]}.get(there, [])
    for step in before:
        place.made(step)
        place.store.blobs.delete(f"{step.address}/MANIFEST.json")  # its rows stay in their pool
    del place.launcher.started[:]
    assert together(place, samples(), greedy()) == apart
    assert place.launcher.started == ["tasks.responses.transformers_program"]
    assert (rows_in(place, samples()), rows_in(place, greedy())) == (18, 9)
    counts = place.store.manifest(*samples().address.split("/")).counts
    assert counts["rows"] == 18 and counts.get("rows_made_beside", 0) == (
        0 if there in ("greedy", "some of both") else 9
    )
    assert place.store.manifest(*greedy().address.split("/")).counts["rows_made"] == 0


def test_a_run_killed_in_between_goes_on_with_one_program(place, apart):
    def interrupt(step, doing, made, total, unit):
        if made:
            raise KeyboardInterrupt

    slow = ENGINE.model_copy(update={"batch_size": 1})
    crew = [sampled(slow, n=2, temperature=0.9), sampled(slow, n=1, temperature=0.0)]
    with pytest.raises(KeyboardInterrupt):
        together(place, *crew, observe=interrupt)
    kept = rows_in(place, samples()) + rows_in(place, greedy())
    del place.launcher.started[:]
    assert together(place, *crew) == apart
    assert kept and len(place.launcher.started) == (kept < 27)  # none, if it was quicker than the interruption
    assert (rows_in(place, samples()), rows_in(place, greedy())) == (18, 9)


def test_a_row_that_both_steps_want_is_made_once(place):
    assert len(together(place, samples(2), samples(3))) == 2
    assert rows_in(place, samples()) == 27 and len(place.launcher.started) == 1


def test_two_workers_and_shares_make_the_rows_of_both(place, apart):
    two = ENGINE.model_copy(update={"workers": 2})
    crew = [sampled(two, n=2, temperature=0.9), sampled(two, n=1, temperature=0.0)]
    for number in (1, 2):
        share = Share(number=number, of=2)
        make_share(crew[0], share, place.store, place.launcher, beside=crew[1:])
    assert (rows_in(place, samples()), rows_in(place, greedy())) == (18, 9)
    del place.launcher.started[:]
    assert together(place, *crew) == apart and not place.launcher.started
