"""What a run tells those who look into the UI."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.config.loading import load_recipe
from flows.fusion import fusion
from flows.run import orchestrate, progress
from flows.run.orchestrate import pool_name, where_to_read
from flows.workspace import Workspace
from infra.errors import BadInput, ProgramFailed
from infra.launch import Launcher
from infra.store import Store
from tasks.stage import lineage
from tests.workplace import as_made


def test_the_reports_link_is_whole_for_a_relative_workspace(tmp_path, monkeypatch):
    """As it is by default."""
    monkeypatch.chdir(tmp_path)
    last = fusion(load_recipe("demo"))
    place = Workspace(Store("store", Path("cache")), Launcher(1, 1), Path(".fuse"))
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "report.html").write_text("what was found")
    place.store.publish(tmp_path / "made", as_made(last))
    link = where_to_read(last, place).split("](file://")[1].split(")")[0]
    assert Path(link).read_text() == "what was found"


def test_a_plans_table_says_on_how_many_hosts_a_step_is_made():
    how = load_recipe("demo", ["how.sampling.work_pool=gpu-sample", "how.sampling.shares=3"]).how
    assert [pool_name(each) for each in (how.sampling, how.wrpo)] == ["gpu-sample, 3 shares", ""]


class Ended:
    """A step that failed, for this reason."""

    def __init__(self, problem: Exception):
        self.problem = problem

    def result(self, raise_on_failure: bool = True):
        if raise_on_failure:
            raise self.problem
        return self.problem


@pytest.mark.parametrize("reason", [BadInput("no such column"), ProgramFailed("a bug")])
def test_a_run_says_what_ended_it_and_not_what_it_ended(monkeypatch, tmp_path, reason):
    """A step that comes earlier in the plan may be one that bad input elsewhere has ended."""
    failed = [Ended(ProgramFailed("the run is ending"))] * isinstance(reason, BadInput) + [Ended(reason)]
    monkeypatch.setattr(
        orchestrate, "submit_and_collect", lambda *given: dict(enumerate([*failed, Ended(ProgramFailed("last"))]))
    )
    with pytest.raises(type(reason), match=str(reason)):
        orchestrate.submit_steps([], "", Workspace(Store(str(tmp_path), tmp_path), Launcher(1, 1), tmp_path))


def test_what_a_step_waits_for_stands_in_the_log_of_its_run(monkeypatch):
    """On a work pool nobody has a terminal: the log of the flow run is all that there is."""
    log = []
    monkeypatch.setattr(progress, "get_run_logger", lambda: SimpleNamespace(info=lambda *words: log.append(words)))
    step = next(each for each in lineage(fusion(load_recipe("demo"))) if each.label == "WRPO")
    look = progress.ProgressArtifact(step)
    for doing in ("queued", "waits for 8 GPUs, 0 of 8 free", "running"):
        look(step, doing, 0, 0, "")
    assert log == [("%s: %s", "WRPO", "waits for 8 GPUs, 0 of 8 free")]
