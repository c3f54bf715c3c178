"""Keeps the first estimate of each step in the store, by the address of the chain's last step: the report shows it beside what
the step then took. The artifacts themselves are the evidence of later plans."""

import json
from collections.abc import Sequence

from flows.pricing.estimate import Estimate
from infra.store import Store
from tasks.report.stage import ESTIMATES


def keep_estimates(estimates: Sequence[Estimate], last: str, store: Store) -> None:
    """An interrupted run keeps the estimates of before, and adds those of steps that had none."""
    path = f"{ESTIMATES}/{last}.json"
    new = {
        step.address: {"p50": round(step.seconds.p50, 3), "p90": round(step.seconds.p90, 3), "source": step.source}
        for step in estimates
    }
    while True:
        try:
            before = store.blobs.read(path)
        except FileNotFoundError:
            if store.blobs.create(path, json.dumps(new).encode()):
                return
            continue
        merged = json.dumps(new | json.loads(before)).encode()
        if merged == before or store.blobs.compare_and_swap(path, before, merged):
            return
