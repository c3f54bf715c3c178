"""The user's prices: a small TOML file, for example `[hour] H100 = 2.49`. See flows/recipes/README.md."""

from pathlib import Path

from pydantic import Field, ValidationError

from flows.config.loading import read_toml
from flows.config.messages import describe_errors
from flows.pricing.model_sizes import anchors
from infra.errors import BadInput
from tasks.stage import Exact

CORES = "cpu"  # the machine of a program that needs no GPU


class TokenPrices(Exact):
    """Dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class Prices(Exact):
    """What machines and endpoints cost, and which machine a step gets."""

    hour: dict[str, float] = Field(
        default={}, description="dollars per hour of one GPU of this kind; `cpu`: of one program without a GPU"
    )
    gpu: str = Field(default="", description="the kind of GPU of all steps; default: this machine's, else H100")
    pools: dict[str, str] = Field(default={}, description="the kind of GPU of a work pool, if it has another")
    tokens: dict[str, TokenPrices] = Field(
        default={}, description="prices of an endpoint's model, by its name in `how.engines`"
    )
    watts: dict[str, float] = Field(default={}, description="power of one busy GPU of this kind, or of `cpu`")
    overhead: float = Field(default=1.2, ge=1, description="power of the building, as a factor (PUE)")
    grams: float = Field(default=400.0, ge=0, description="CO2-equivalent per kWh of the grid")


def load_prices(path: str | None) -> Prices:
    if path is None:
        return Prices()
    if not Path(path).is_file():
        raise BadInput(f"--prices {path}: there is no such file")
    try:
        prices = Prices.model_validate(read_toml(Path(path)))
    except ValidationError as problem:
        raise BadInput(f"{path}: {describe_errors(problem, Prices)}") from problem
    for field, names in (("gpu", [prices.gpu] if prices.gpu else []), ("pools", prices.pools.values())):
        if unknown := [name for name in names if name not in (*anchors()["gpus"], CORES)]:
            raise BadInput(
                f"{path}: {field}: unknown kind {unknown[0]!r}; known are {', '.join(anchors()['gpus'])}, {CORES}"
            )
    return prices
