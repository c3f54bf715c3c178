"""A line to a webhook (Slack, Mattermost, anything that takes {"text": …}). Its address is a secret: no message holds it."""

import json
import logging
import urllib.error
import urllib.request


def post_message(address: str, text: str) -> None:
    """A message that cannot be delivered is no reason to fail: it is logged."""
    try:
        request = urllib.request.Request(
            address, json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).close()
    except (urllib.error.URLError, OSError, ValueError) as problem:
        logging.getLogger(__name__).warning("the webhook was not reached: %s", type(problem).__name__)
