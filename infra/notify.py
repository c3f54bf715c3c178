"""Posts a message to a webhook that accepts {"text": …}. The address is a secret, so no log line contains it."""

import json
import logging
import urllib.error
import urllib.request


def post_message(address: str, text: str) -> None:
    """Posts a message; a failed delivery is only logged."""
    try:
        request = urllib.request.Request(
            address, json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).close()
    except (urllib.error.URLError, OSError, ValueError) as problem:
        logging.getLogger(__name__).warning("cannot reach the webhook: %s", type(problem).__name__)
