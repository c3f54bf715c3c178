"""What of a record fits into a training's `max_length`: the written rule for texts that are too long."""

from infra.errors import BadInput

MIN_RESPONSE = 8  # tokens that a prompt must leave for a response; with fewer there is nothing to learn from


def fit_responses(
    prompt: list[int], responses: list[list[int]], max_length: int, min_response: int = MIN_RESPONSE
) -> tuple[list[list[int]], int] | None:
    """Each response cut to what the prompt leaves of `max_length`, on its own; and how many were cut. None where the prompt
    leaves less than a response needs: such a record is left out of the training, and counted.

    A cut response keeps no end token: it did not end there. The prompt is never cut.
    """
    budget = max_length - len(prompt)
    if budget < min_response:
        return None
    return [response[:budget] for response in responses], sum(len(response) > budget for response in responses)


def refuse_none(kept: int, records: int, max_length: int | None) -> None:
    """A prompt that is too long, or that the template refuses, is left out; all of them are a mistake. Without a length
    none is too long."""
    if kept:
        return
    if max_length is None:
        raise BadInput(f"the model's chat template refuses the turns of all {records} records")
    raise BadInput(
        f"max_length: {max_length} is too short: the prompts of all {records} records leave fewer than {MIN_RESPONSE} tokens for"
        " a response, or the model's chat template refuses them"
    )
