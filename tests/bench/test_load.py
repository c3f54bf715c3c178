"""What the measurement of load says of its own numbers."""

from tests.bench.load import beyond, growth


def test_a_process_or_a_plan_beyond_what_is_promised_is_named():
    fine = {"plan, all made": [(5.0, 1, 4.0, 0)], "pairs": [(99, 9, 1, 3.9), (60, 9, 4.0, 0)]}
    assert beyond(fine) == []
    found = beyond({"plan, all made": [(5.1, 1, 0.1, 0)], "pairs": [(9, 9, 1, 0.2), (9, 9, 0.1, 4.1)]})
    assert [line.split(", at most")[0] for line in found] == ["plan, all made: 5.1 s", "pairs: 4.1 GiB in a process"]


def test_growth_stands_beside_the_seconds_of_every_size():
    of = {
        30: {"pairs": [(1, 1.0, 0, 0), (1, 1.0, 0, 0)]},
        300: {"pairs": [(9, 20.0, 0, 0)]},
        3000: {"pairs": [(9, 210.0, 0, 0)]},
    }
    _, line = growth(of)
    assert line.split() == ["pairs", "2.0", "20.0", "210.0", "10.0,", "10.5"]
