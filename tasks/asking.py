"""How a server is asked, wherever one is: settings alone. `tasks/endpoint.py` does it."""

from pydantic import Field

from tasks.stage import How


class Asking(How):
    """Of every room that asks a server; a room may expect more of its servers than these."""

    concurrency: int = Field(32, gt=0, description="requests at once to each server")
    timeout: float = Field(120.0, gt=0, description="seconds to wait for one answer")
    attempts: int = Field(6, gt=0, description="per request")
    first_wait: float = Field(0.5, ge=0, description="seconds before the second attempt; doubles")


def manner(how: dict) -> dict:
    """Of a room's settings, these."""
    return {name: how[name] for name in Asking.model_fields if name != "work_pool"}
