"""Cuts responses to a training's `max_length`."""

from infra.errors import BadInput

MIN_RESPONSE = 8  # tokens that a prompt must leave for a response; fewer teach nothing


def fit_responses(
    prompt: list[int], responses: list[list[int]], max_length: int, min_response: int = MIN_RESPONSE
) -> tuple[list[list[int]], int] | None:
    """Cuts each response to the tokens that the prompt leaves of `max_length`; returns responses and the number cut. Returns
    None if the prompt leaves fewer than `min_response` tokens: the caller then leaves the record out and counts it.

    A cut response has no end token, because it did not end there. The prompt is never cut.
    """
    budget = max_length - len(prompt)
    if budget < min_response:
        return None
    return [response[:budget] for response in responses], sum(len(response) > budget for response in responses)


def refuse_none(kept: int, records: int, max_length: int | None) -> None:
    """Raises BadInput if every record was left out. With `max_length` None no prompt is too long, thus the template refused
    them."""
    if kept:
        return
    if max_length is None:
        raise BadInput(f"the model's chat template refuses the turns of all {records} records")
    raise BadInput(
        f"max_length: {max_length} is too short: the prompts of all {records} records leave fewer than {MIN_RESPONSE} tokens for"
        " a response, or the model's chat template refuses them"
    )
