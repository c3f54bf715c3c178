"""Settings for requests to a server; `tasks/endpoint/client.py` sends them."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from infra.link_local import REFUSED, is_link_local
from tasks.stage import How


def check_address(url: str) -> str:
    """Checks a server's address. It must not contain a key, and the error does not repeat it."""
    parts = None
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if parts is None or not whole:
        raise ValueError("must be an address such as http://127.0.0.1:8000/v1")
    if is_link_local(parts.hostname or ""):
        raise ValueError(f"{parts.hostname} {REFUSED}")
    if parts.username is not None or parts.query or parts.fragment:
        raise PydanticCustomError(
            "secret", "must have only a server and a path; give the key in its environment variable"
        )
    return url


def check_addresses(urls: tuple[str, ...]) -> tuple[str, ...]:
    if not urls:
        raise ValueError("must name at least one server")
    return tuple(map(check_address, urls))


Address = Annotated[str, AfterValidator(check_address)]
Addresses = Annotated[tuple[str, ...], AfterValidator(check_addresses)]


class Asking(How):
    """Settings of every room that sends requests to a server; a room may add its own."""

    concurrency: int = Field(default=32, gt=0, description="requests at the same time to each server")
    timeout: float = Field(default=120.0, gt=0, description="seconds to wait for one answer")
    attempts: int = Field(default=6, gt=0, description="attempts per request")
    first_wait: float = Field(
        default=0.5, ge=0, description="seconds before the second attempt; doubles with each further attempt"
    )


def asking_settings(how: dict) -> dict:
    """The client's settings, taken from a room's settings."""
    return {name: how[name] for name in Asking.model_fields if name not in How.model_fields}
