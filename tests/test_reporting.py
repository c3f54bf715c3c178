"""Trackers: refused by name when their package is missing, and given the log when it is there."""

import pytest

from infra.errors import BadInput
from tasks.program import Progress
from tasks.sft.train import main
from tasks.training import trackers as reporting
from tasks.training.settings import TrainingHow
from tests import tiny
from tests.sft.test_train import job

NAMES = {"tensorboard": "tensorboard or tensorboardX", "wandb": "wandb", "trackio": "trackio"}


@pytest.mark.parametrize(("name", "package"), NAMES.items())
def test_a_tracker_whose_package_is_missing_is_refused(name, package, monkeypatch):
    monkeypatch.setattr(reporting, "find_spec", lambda package: None)
    with pytest.raises(BadInput, match=f"how.report_to: the package {package} is not installed"):
        reporting.trackers({"how": {"report_to": [name]}})


def test_by_default_nothing_is_reported():
    assert TrainingHow().report_to == () and reporting.trackers({"how": TrainingHow().model_dump(mode="json")}) == []


def test_tensorboard_is_given_every_step(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    given = job(tiny.folder(tmp_path / "start"), tmp_path / "job", epochs=2)
    given["how"]["report_to"], given["report"] = ["tensorboard"], str(tmp_path / "runs/sft-1234")
    (tmp_path / "out").mkdir()
    main(given, tmp_path / "out", Progress(tmp_path))
    (events,) = (tmp_path / "runs/sft-1234").iterdir()
    assert events.read_bytes().count(b"train/grad_norm") == 2
