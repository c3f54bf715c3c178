"""The row shapes that cross rooms, as Arrow schemas: the only thing two rooms have in common."""

import hashlib
import json

import pyarrow as pa

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

PROMPT = pa.schema(
    [
        ("prompt_id", pa.string()),  # sha256 of the canonical form of the messages
        ("messages", MESSAGES),  # ends with a user turn
        ("category", pa.string()),
        ("gold", pa.string()),  # what a program checks answers with: the right one, or tests; null where there is none
        ("part", pa.string()),  # the part of the split that it was given for; null where it names none
        ("response", pa.string()),  # the response that it came with; null where there is none
    ]
)

CUT_OFF = "length"  # the finish reason of a response that max_new_tokens ended
REFUSED = "refused: "  # begins the finish reason of a row whose prompt no try gets an answer to

SPLIT = pa.schema([("prompt_id", pa.string()), ("part", pa.string())])  # sft | preference | held_out

RESPONSE = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("sample_index", pa.int32()),
        ("text", pa.string()),
        ("content_id", pa.string()),  # of prompt and text: by it a response is joined with its scores
        ("prompt_tokens", pa.int32()),
        ("tokens", pa.int32()),
        ("finish_reason", pa.string()),  # stop | length | refused: why
        ("seed", pa.int64()),
        ("engine", pa.string()),  # e.g. transformers 5.19.0
    ]
)

SCORE = pa.schema(
    [
        ("content_id", pa.string()),
        ("score", pa.float64()),  # null where there is none; then `reason` says why
        ("tokens", pa.int32()),  # that were read; null where another machine counts them
        ("truncated", pa.bool_()),  # the score was read off before the text's end
        ("reason", pa.string()),
        (
            "objectives",
            pa.list_(pa.float32()),
        ),  # a reward per objective, before the gate; null where a model has but one
        ("gate", pa.list_(pa.float32())),  # the weight of each
    ]
)

CHECK = pa.schema(
    [
        ("content_id", pa.string()),
        ("gold_id", pa.string()),  # sha256 of what it was checked with
        ("score", pa.float64()),  # 1 correct, 0 not; null where that is not known
        ("kind", pa.string()),  # math | code | exact | none
        ("verdict", pa.string()),  # passed | failed | error | timeout | unchecked
        ("passed", pa.int32()),  # assertions that held, of `total`
        ("total", pa.int32()),
        ("reason", pa.string()),
    ]
)

LOG_PROB = pa.schema(
    [
        ("content_id", pa.string()),  # as `learned_id` gives it
        ("log_prob", pa.float64()),  # log pi(y|x), summed over the response's tokens and its end, if it has one
        ("tokens", pa.int32()),  # that were summed over
    ]
)

SFT_RECORD = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("messages", MESSAGES),
        ("response", pa.string()),
        ("source", pa.string()),
        ("score", pa.float64()),
        ("finish_reason", pa.string()),  # of the response; null where it came with the prompt
    ]
)

# A column per role. A rule fills the roles it is about, the others are null: an objective names the roles that it needs.
PREFERENCE_RECORD = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("messages", MESSAGES),
        ("source", pa.string()),  # who wrote source_best
        ("source_best", pa.string()),  # y_ws
        ("own_best", pa.string()),  # y_wt
        ("own_worst", pa.string()),  # y_l
        ("source_best_score", pa.float64()),
        ("own_best_score", pa.float64()),
        ("own_worst_score", pa.float64()),
        ("worst_source", pa.string()),  # who wrote source_worst
        (
            "source_worst",
            pa.string(),
        ),  # y_ls, or the rejected response of the same source; null where a rule makes none
        ("source_worst_score", pa.float64()),
        *[(f"{role}_finish_reason", pa.string()) for role in ("source_best", "own_best", "own_worst", "source_worst")],
    ]
)


def prompt_id(messages: list[dict[str, str]]) -> str:
    """The identity of a prompt is what it says: sha256 over the canonical JSON of its (role, content) turns."""
    turns = [[turn["role"], turn["content"]] for turn in messages]
    return hashlib.sha256(json.dumps(turns, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def content_id(prompt: str, text: str) -> str:
    """The identity of a response for a reward model: who wrote it does not matter, only what stands there."""
    return hashlib.sha256(f"{prompt}\0{text}".encode()).hexdigest()[:40]


def learned_id(prompt: str, text: str, cut_off: bool) -> str:
    """The identity of a response for a model that learns it: one that was cut off has no end token, so the same words are
    another response."""
    return content_id(f"cut off\0{prompt}" if cut_off else prompt, text)
