"""The union of objectives: the papers' constants as defaults, and identities that must not move."""

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.stage import digest
from tasks.wrpo.settings import Objective, objective_names, objective_terms

PAPER = {  # WRPO, Table 6, its tau column put back
    "dpo": {"beta": 0.01},
    "ipo": {"tau": 0.01},
    "simpo": {"beta": 10, "gamma": 1.0},
    "wrpo": {"beta": 0.01, "alpha": 0.1},
    "wrpo-ipo": {"tau": 0.01, "alpha": 0.1},
    "wrpo-simpo": {"beta": 10, "gamma": 0, "alpha": 0.5},
}


def settings(objective: str, **more):
    values = {"objective": objective, "learning_rate": 3e-7, "seed": 1, **more}
    return TypeAdapter(Objective).validate_python(values)


def test_the_defaults_are_the_papers():
    assert set(objective_names()) == set(PAPER)
    for name, constants in PAPER.items():
        found = objective_terms(settings(name))
        assert {field: found.get(field) for field in ("beta", "tau", "gamma", "alpha") if field in found} == constants
        assert found["log_probs"] == ("mean" if "simpo" in name else "sum")


def test_wrpo_is_still_what_it_was_before_it_had_brothers():
    assert digest(settings("wrpo")) == "7fe9925322705495548898f976e3be571a0f7f45"
    assert digest(settings("wrpo")) != digest(settings("wrpo", schedule={"kind": "static"}))
    assert digest(settings("wrpo")) == digest(settings("wrpo", schedule={"kind": "linear"}, alpha=0.1))


@pytest.mark.parametrize(
    ("objective", "field"),
    [("dpo", "alpha"), ("wrpo", "gamma"), ("wrpo", "pair"), ("ipo", "beta"), ("simpo", "tau"), ("dpo", "schedule")],
)
def test_an_objective_takes_no_field_that_it_would_not_read(objective, field):
    with pytest.raises(ValidationError, match="Extra inputs"):
        settings(objective, **{field: 0.1})
