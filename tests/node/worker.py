"""A pool's worker on the node, as a process of its own: `python -m tests.node.worker POOL SECONDS_PER_HOUR`.

It brings every step of its pool as soon as the inputs are in the store; POOL "here" is the flow itself, for the other steps.
"""

import sys
import threading
import time

from flows.plan import followers
from flows.workspace import Place
from infra.errors import ProgramFailed
from infra.settings import settings
from infra.store import Store
from tasks.execution import ensure
from tasks.program import end_with_starter
from tasks.stage import Step
from tests.node.mix import hours, steps
from tests.node.node import StandIns


def main(pool: str, scale: float) -> None:
    seconds = lambda request: hours(request.what, request) / request.gpus * scale
    place = Place(Store(settings().store_url, settings().workspace / "cache"), StandIns(seconds), settings().workspace)
    chain = steps()
    follow = followers(chain)
    mine = [step for step in chain if (step.how.work_pool or "here") == pool]
    threads = [threading.Thread(target=bring, args=(step, place, follow[step.address])) for step in mine]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def bring(step: Step, place: Place, urgency: int) -> None:
    inputs = [item for items in step.inputs.values() for item in items]
    while not all(place.store.manifest(item.stage.name, item.fingerprint) for item in inputs):
        time.sleep(0.5)
    while True:
        try:
            ensure(step, place.store, place.launcher, told, urgency)
            return
        except ProgramFailed as problem:  # killed more often than it is restarted: a flow is run again by its user
            print(f"AGAIN {step.label}: {str(problem).splitlines()[0]}", flush=True)


def told(step: Step, doing: str, *numbers) -> None:
    if doing not in ("running", "queued"):
        print(f"{step.label}: {doing}", flush=True)


if __name__ == "__main__":
    end_with_starter()
    main(sys.argv[1], float(sys.argv[2]))
