"""Which model a server serves: its entry in the server's list of models, and its log-probs of a fixed text.

A server that does not list its models has no identity here. Rows name the identity that made them by parts; a server with
another identity adds no rows to them, unless the recipe accepts it by name.
"""

import math

import pyarrow as pa
from pydantic import BaseModel

from infra.errors import BadInput

FIELD = b"served_model"  # of the metadata of a part of rows
LISTED = ("id", "root", "parent", "owned_by")  # the other fields change with each start of the server
LEAST = -10.0  # nats; smaller log-probs are mostly noise and count as this one
SAME = {"tokens": 0.05, "chat": 0.1}  # see `differs_from`; bf16 and int8 differ from fp32 by 0.02, int4 by 0.4 and 0.2


class ServedModel(BaseModel, frozen=True):
    """`name` is the server's name of the model and a number, such as llama3#2: the second model that had this name."""

    name: str = ""
    speaks: str
    listed: dict[str, str]
    probe: dict[str, float] = {}  # log-probs by place and token; empty if the server gives none

    def differs_from(self, other: "ServedModel") -> str:
        """What differs, for a message; empty if both can be the same model."""
        if self.speaks != other.speaks:
            return f'it was asked with speaks = "{other.speaks}", and now with "{self.speaks}"'
        for field in LISTED:
            if self.listed.get(field) != other.listed.get(field):
                return f"its {field} was {other.listed.get(field)!r} and is {self.listed.get(field)!r}"
        if self.probe and other.probe:
            apart = (mean_difference if self.speaks == "tokens" else total_variation)(self.probe, other.probe)
            if apart > SAME[self.speaks]:
                unit = "nats on average" if self.speaks == "tokens" else "in total variation"
                return f"its probabilities of a fixed text differ by {apart:.2f} {unit}"
        return ""


def mean_difference(left: dict[str, float], right: dict[str, float]) -> float:
    """Mean difference of the log-probs of one text in nats. Another tokenizer gives other tokens: they count as LEAST."""
    tokens = left.keys() | right.keys()
    level = lambda probe, token: max(LEAST, probe.get(token, LEAST))
    return sum(abs(level(left, token) - level(right, token)) for token in tokens) / len(tokens)


def total_variation(left: dict[str, float], right: dict[str, float]) -> float:
    """Distance of two distributions of a first token, 0 to 1; the tokens that are not listed have little weight."""
    chance = lambda probe, token: math.exp(probe[token]) if token in probe else 0.0
    return sum(abs(chance(left, token) - chance(right, token)) for token in left.keys() | right.keys()) / 2


def choose_identity(found: ServedModel | None, known: list[ServedModel], how: dict, url: str) -> ServedModel | None:
    """The identity for the rows that the server will make: a known one or a new one. Raises BadInput for another model than
    that of the known rows, unless `accept_models` has its name. Rows without an identity fit to every model."""
    if found is None and not known:
        return None
    if found is None:
        name, reason = "unlisted", "the server lists no such model, and it did when the rows were made"
    else:
        reasons = [found.differs_from(each) for each in known]
        if "" in reasons:
            return known[reasons.index("")]
        name = f"{how['model']}#{1 + len(known)}"
        reason = reasons[-1] if reasons else ""
    if reason and name not in how["accept_models"]:
        raise BadInput(
            f"{url}: serves another model {how['model']!r} than the one of the stored rows: {reason}. To add rows of this "
            f'model to them, set accept_models = ["{name}"] for this engine; to keep them apart, give the source another model'
        )
    return found and found.model_copy(update={"name": name})


def with_served_model(schema: pa.Schema, served: ServedModel) -> pa.Schema:
    """The schema of parts whose rows this model makes. Columns and addresses stay the same."""
    return schema.with_metadata({FIELD: served.model_dump_json().encode()})
