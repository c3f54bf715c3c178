"""Who may take GPUs next: in order, later ones only into gaps where they delay none before them."""

from infra.gpu_order import Waiting, choose_gpus

ALL = tuple("01234567")


def waits(gpus: int, seconds: float | None = None, usable: str = "01234567") -> Waiting:
    return Waiting(gpus, tuple(usable), seconds, seconds)


def test_the_first_job_takes_free_gpus_side_by_side():
    assert choose_gpus(waits(2), [], {"0": None}) == ("2", "3")
    assert choose_gpus(waits(4), [], dict.fromkeys("0247")) == ("1", "3", "5", "6")
    assert choose_gpus(waits(8), [], {}) == ALL and choose_gpus(waits(8), [], {"3": 1.0}) == ()


def test_a_later_one_takes_nothing_that_one_before_it_can_have_now():
    assert choose_gpus(waits(4), [waits(4)], {}) == ("4", "5", "6", "7")
    assert choose_gpus(waits(4), [waits(4), waits(2)], {}) == ()


def test_a_short_job_fills_a_gap_and_a_long_one_does_not():
    busy = dict.fromkeys("0123", 100.0)
    assert choose_gpus(waits(1, 99), [waits(8)], busy) == ("4",)
    assert choose_gpus(waits(1, 101), [waits(8)], busy) == ()


def test_what_is_not_known_is_read_against_the_later_one():
    assert choose_gpus(waits(1, None), [waits(8)], dict.fromkeys("0123", 100.0)) == ()
    assert choose_gpus(waits(1, 1), [waits(8)], dict.fromkeys("0123")) == ()  # they may end now


def test_a_job_of_uncertain_length_counts_as_long_when_it_passes():
    between = Waiting(1, ALL, at_least=10.0, at_most=100.0)
    assert choose_gpus(between, [waits(8)], dict.fromkeys("0123", 50.0)) == ()
    assert choose_gpus(waits(1, 50), [between, waits(8)], dict.fromkeys("0123", 20.0)) == ()


def test_a_long_one_may_pass_where_the_first_does_not_need_what_it_takes():
    """Six will be free in 10 s, the first needs four of them: two are over."""
    ends = dict.fromkeys("01", 1000.0) | dict.fromkeys("2345", 10.0)
    assert choose_gpus(waits(2, 500), [waits(4)], ends) == ("6", "7")
    assert choose_gpus(waits(2, 500), [waits(6)], ends) == ()


def test_several_who_wait_for_all_are_all_heeded():
    ends = dict.fromkeys("0123", 100.0)
    assert choose_gpus(waits(2, 50), [waits(8), waits(6)], ends) == ("4", "5")
    assert choose_gpus(waits(2, 150), [waits(4, usable="0123"), waits(7)], ends) == ()


def test_who_waits_for_other_gpus_is_in_nobodys_way():
    assert choose_gpus(waits(4, usable="4567"), [waits(4, usable="0123")], dict.fromkeys("0", 100.0)) == tuple("4567")
