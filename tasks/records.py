"""Arrow schemas of the rows that pass between rooms; rooms share nothing else."""

import hashlib
import json

import pyarrow as pa

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

PROMPT = pa.schema(
    [
        ("prompt_id", pa.string()),  # sha256 of the canonical form of the messages
        ("messages", MESSAGES),  # ends with a user turn
        ("category", pa.string()),
        ("gold", pa.string()),  # the right answer, or tests, for checking responses; may be null
        ("part", pa.string()),  # the part of the split that the prompt's source names; may be null
        ("response", pa.string()),  # the response that came with the prompt; may be null
    ]
)

CUT_OFF = "length"  # the finish reason of a response that max_new_tokens ended
REFUSED = "refused: "  # start of the finish reason of a row whose prompt the source refuses

SPLIT = pa.schema([("prompt_id", pa.string()), ("part", pa.string())])  # sft | preference | held_out

RESPONSE = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("sample_index", pa.int32()),
        ("text", pa.string()),
        ("content_id", pa.string()),  # hash of prompt and text; joins a response with its scores
        ("prompt_tokens", pa.int32()),
        ("tokens", pa.int32()),
        ("finish_reason", pa.string()),  # stop | length | "refused: " and the reason
        ("seed", pa.int64()),
        ("engine", pa.string()),  # e.g. transformers 5.19.0
    ]
)

SCORE = pa.schema(
    [
        ("content_id", pa.string()),
        ("score", pa.float64()),  # null if there is no score; `reason` then says why
        ("tokens", pa.int32()),  # number of tokens read; null if another machine counts them
        ("truncated", pa.bool_()),  # true: the reward model did not read the text to its end
        ("reason", pa.string()),
        (
            "objectives",
            pa.list_(pa.float32()),
        ),  # a reward per objective, before the gate; null if the model has only one
        ("gate", pa.list_(pa.float32())),  # the weight of each objective
    ]
)

CHECK = pa.schema(
    [
        ("content_id", pa.string()),
        ("gold_id", pa.string()),  # sha256 of the gold that the response was checked with
        ("score", pa.float64()),  # 1 correct, 0 wrong; null if not known
        ("kind", pa.string()),  # math | code | exact | none
        ("verdict", pa.string()),  # passed | failed | error | timeout | unchecked
        ("passed", pa.int32()),  # number of passed assertions out of `total`
        ("total", pa.int32()),
        ("reason", pa.string()),
    ]
)

LOG_PROB = pa.schema(
    [
        ("content_id", pa.string()),  # the result of `learned_id`
        ("log_prob", pa.float64()),  # log pi(y|x), summed over the response's tokens and its end token, if it has one
        ("tokens", pa.int32()),  # number of tokens in the sum
    ]
)

SFT_RECORD = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("messages", MESSAGES),
        ("response", pa.string()),
        ("source", pa.string()),
        ("score", pa.float64()),
        ("finish_reason", pa.string()),  # of the response; null if the response came with the prompt
    ]
)

# One column per role. A rule for pairs fills some roles, the others are null. An objective names the roles that it needs.
PREFERENCE_RECORD = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("messages", MESSAGES),
        ("source", pa.string()),  # the model that wrote source_best
        ("source_best", pa.string()),  # y_ws
        ("own_best", pa.string()),  # y_wt
        ("own_worst", pa.string()),  # y_l
        ("source_best_score", pa.float64()),
        ("own_best_score", pa.float64()),
        ("own_worst_score", pa.float64()),
        ("worst_source", pa.string()),  # the model that wrote source_worst
        (
            "source_worst",
            pa.string(),
        ),  # y_ls, or the rejected response of the same source; null if the rule makes none
        ("source_worst_score", pa.float64()),
        *[(f"{role}_finish_reason", pa.string()) for role in ("source_best", "own_best", "own_worst", "source_worst")],
    ]
)


def prompt_id(messages: list[dict[str, str]]) -> str:
    """The id of a prompt: sha256 of the canonical JSON of its (role, content) turns."""
    turns = [[turn["role"], turn["content"]] for turn in messages]
    return hashlib.sha256(json.dumps(turns, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def content_id(prompt: str, text: str) -> str:
    """The id of a response for a reward model: a hash of prompt and text, without the model that wrote it."""
    return hashlib.sha256(f"{prompt}\0{text}".encode()).hexdigest()[:40]


def learned_id(prompt: str, text: str, cut_off: bool) -> str:
    """The id of a response in training: a response that was cut off has no end token, so it differs from a complete
    response with the same text."""
    return content_id(f"cut off\0{prompt}" if cut_off else prompt, text)
