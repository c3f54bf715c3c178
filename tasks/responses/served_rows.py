"""Finds the identities of the served models that made the rows of a pool."""

import json

import pyarrow.parquet as pq

from tasks.endpoint.served_model import FIELD
from tasks.execution import Run
from tasks.rows.pool import pool_of


def known_models(run: Run) -> list[dict]:
    """The different identities in the pool, by their numbers. Parts of other engines, and old ones, have none."""
    found = {}
    for _, file in run.store.fetch_parts(run.store.parts(pool_of(run))):
        if text := (pq.read_schema(file).metadata or {}).get(FIELD):
            found[text] = json.loads(text)
    return sorted(found.values(), key=lambda each: int(each["name"].rpartition("#")[2]))
