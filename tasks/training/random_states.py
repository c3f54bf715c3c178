"""The random states of a process as tensors: Python's, numpy's, torch's and every GPU's."""

import random
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor


def random_states() -> dict[str, Tensor]:
    version, words, gauss = random.getstate()
    numpy = cast(tuple[str, np.ndarray, int, int, float], np.random.get_state())
    bits = lambda value: torch.tensor([np.nan if value is None else value], dtype=torch.float64)
    states = {
        "python": torch.tensor([version, *words]),
        "python_gauss": bits(gauss),
        "numpy": torch.from_numpy(numpy[1].astype(np.int64)),
        "numpy_place": torch.tensor(numpy[2:4]),
        "numpy_gauss": bits(numpy[4]),
        "torch": torch.get_rng_state(),
    }
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return states | {f"cuda-{number}": value for number, value in enumerate(gpus)}


def put_random_states(folder: Path, process: int) -> None:
    file = folder / f"random-{process}.safetensors"
    if not file.is_file():
        return  # more processes than before: the new ones keep the state from their seed
    states = load_file(file)
    version, *words = states["python"].tolist()
    gauss = states["python_gauss"].item()
    random.setstate((version, tuple(words), None if np.isnan(gauss) else gauss))
    place = states["numpy_place"].tolist()
    np.random.set_state(("MT19937", states["numpy"].numpy().astype(np.uint32), *place, states["numpy_gauss"].item()))
    torch.set_rng_state(states["torch"])
    for number in range(torch.cuda.device_count()):
        if f"cuda-{number}" in states:
            torch.cuda.set_rng_state(states[f"cuda-{number}"], number)
