"""Trainings of LoRA, packed SFT, best-of-two and two processes, killed at random moments: the very weights of a calm run.

`python -m tests.attacks.resumes [KILLS] [SEED] [PART OF A NAME]`
"""

import os
import random
import signal
import socket
import sys
import tempfile
from pathlib import Path

from tasks.training.checkpoints import finished_checkpoints
from tests.patience import join
from tests.test_group import member
from tests.test_resume import SERVER, job, result, start

LORA = {"rank": 2, "alpha": 4.0, "targets": [], "base": "full"}
BEST = {"best_of_two": {"every": 6, "held_out": 0.3}}
PACKED = {"form": "packed", "max_length": 16}
KINDS = {  # room, LoRA, other settings, processes
    "sft lora": ("sft", LORA, {}, 1),
    "wrpo lora": ("wrpo", LORA, {}, 1),
    "sft packed": ("sft", None, PACKED, 1),
    "sft packed lora": ("sft", LORA, PACKED, 1),
    "sft best of two": ("sft", None, BEST, 1),
    "sft best of two lora": ("sft", LORA, BEST, 1),
    "wrpo in two processes": ("wrpo", None, {}, 2),
    "wrpo lora in two processes": ("wrpo", LORA, {}, 2),
}


def begin(room: str, given: dict, out: Path, processes: int) -> list:
    if processes == 1:
        return [start(room, given, out)]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = given | {"how": given["how"] | {"processes": processes, "device_batch_size": 1}}
    out.mkdir(exist_ok=True)
    group = [SERVER.Process(target=member, args=(rank, processes, port, room, given, out)) for rank in range(processes)]
    for process in group:
        process.start()
    return group


def main(kills: str = "4", seed: str = "1", part: str = "") -> None:
    chance = random.Random(int(seed))
    for name, (room, lora, what, processes) in {name: kind for name, kind in KINDS.items() if part in name}.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            given = job(room, folder, steps=24, lora=lora)
            given["what"] |= what
            for process in begin(room, given, folder / "calm", processes):
                join(process, folder / "calm")
            expected, came, out = result(folder / "calm"), [], folder / "out"
            for _ in range(int(kills)):
                group = begin(room, given, out, processes)
                until = len(finished_checkpoints(out)) + chance.choice((0, 1, 1))
                wait = chance.uniform(0.05, 0.6)
                while len(finished_checkpoints(out)) < min(until, 2) and group[0].is_alive():
                    group[0].join(0.02)
                group[0].join(wait)
                for process in group:
                    if process.is_alive():
                        os.kill(process.pid, signal.SIGKILL)
                    process.join()
                came.append([path.name.lstrip("0") for path in finished_checkpoints(out)][-1:])
            for process in begin(room, given, out, processes):
                join(process, out)
            weights, steps = result(out)
            same = weights == expected[0] and steps == expected[1]
            print(f"{'same ' if same else 'OTHER'} {name}: killed after the checkpoints {came}", flush=True)
            assert same, name


if __name__ == "__main__":
    main(*sys.argv[1:])
