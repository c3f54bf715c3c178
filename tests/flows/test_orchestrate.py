"""What a run tells those who look into the UI."""

from pathlib import Path

from flows.fusion import fusion
from flows.orchestrate import pool_of, where_to_read
from flows.place import Place
from flows.written import load
from infra.launch import Launcher
from infra.store import Store
from tests.workplace import as_made


def test_the_link_to_the_report_is_whole_where_the_workspace_is_a_relative_path(tmp_path, monkeypatch):
    """As it is by default."""
    monkeypatch.chdir(tmp_path)
    last = fusion(load("demo"))
    place = Place(Store("store", Path("cache")), Launcher(1, 1), Path(".fuse"))
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "report.html").write_text("what was found")
    place.store.publish(tmp_path / "made", as_made(last))
    link = where_to_read(last, place).split("](file://")[1].split(")")[0]
    assert Path(link).read_text() == "what was found"


def test_a_plans_table_says_on_how_many_hosts_a_step_is_made():
    how = load("demo", ["how.sampling.work_pool=gpu-sample", "how.sampling.shares=3"]).how
    assert [pool_of(each) for each in (how.sampling, how.wrpo)] == ["gpu-sample, 3 shares", ""]
