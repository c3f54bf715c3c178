"""GPUs are dealt out: no two programs have the same one, a program waits for its own, and gives them back."""

import threading
import time

import pytest

from infra.devices import Devices
from infra.errors import BadInput
from tests.patience import STILL


def test_no_gpu_is_given_twice_and_whoever_waits_gets_its_own_in_the_end():
    devices, used, most, lock = Devices(["0", "1", "2", "3"]), [], [], threading.Lock()

    def work(number: int) -> None:
        with devices.taken(number) as variables:
            mine = variables["CUDA_VISIBLE_DEVICES"].split(",")
            with lock:
                assert len(mine) == number and not set(mine) & set(used)
                used.extend(mine)
                most.append(len(used))
            time.sleep(0.01)
            with lock:
                for name in mine:
                    used.remove(name)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 4, 1, 3, 2, 4, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(STILL)
    assert len(most) == 8 and max(most) <= 4 and devices.free == ["0", "1", "2", "3"]


def test_a_program_that_fails_gives_its_gpus_back():
    devices = Devices(["5", "7"])
    with pytest.raises(ZeroDivisionError), devices.taken(2) as variables:
        assert variables == {"CUDA_VISIBLE_DEVICES": "5,7"}
        raise ZeroDivisionError
    assert devices.free == ["5", "7"]


def test_more_than_there_are_is_refused_and_a_machine_without_any_changes_nothing():
    with pytest.raises(BadInput, match="asks for 3 GPUs, this machine has 2"), Devices(["0", "1"]).taken(3):
        pass
    with Devices([]).taken(3) as nothing, Devices(["0"]).taken(0) as all_of_them:
        assert nothing == all_of_them == {}


def test_the_gpus_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-7")
    assert Devices().names == ["2", "GPU-7"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Devices().names == []
