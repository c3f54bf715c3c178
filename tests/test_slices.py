"""Files of slices: whoever wrote them, every part of every tensor reads back, and safetensors' own reader agrees."""

import weakref
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.training.slices import SavedTensors, share_of, slice_tensor, write_slices

TENSORS = {
    "matrix": torch.arange(35.0).view(5, 7), "line": torch.arange(3), "one": torch.tensor(2.5),
    "half": torch.linspace(0, 1, 11).bfloat16(), "truth": torch.tensor([True, False, True]),
    "double": torch.linspace(-1, 1, 4, dtype=torch.float64).view(2, 1, 2),
}  # fmt: skip


def written(folder, processes: int) -> list:
    files = [folder / f"t-{number}.safetensors" for number in range(processes)]
    for number, file in enumerate(files):
        write_slices(file, [slice_tensor(name, value, number, processes) for name, value in TENSORS.items()])
    return files


@pytest.mark.parametrize("writers", [1, 2, 3, 8])
@pytest.mark.parametrize("readers", [1, 2, 5])
def test_any_number_of_processes_reads_what_any_number_wrote(writers, readers, tmp_path):
    saved = SavedTensors(written(tmp_path, writers))
    for name, value in TENSORS.items():
        assert torch.equal(saved.whole(name), value) and saved.shape(name) == tuple(value.shape)
        for reader in range(readers):
            start, size = share_of(value.numel(), reader, readers)
            assert torch.equal(saved.read(name, start, size), value.flatten()[start : start + size])


def test_safetensors_reads_the_same_bytes(tmp_path):
    (whole,) = written(tmp_path, 1)
    found = load_file(whole)
    assert found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in found)
    parts = [load_file(file) for file in written(tmp_path, 3)]
    for name, value in TENSORS.items():
        assert torch.equal(torch.cat([part[name].flatten() for part in parts if name in part]), value.flatten())


def test_whole_tensors_of_safetensors_own_writer_are_read(tmp_path):
    """So were checkpoints written before; and so are published models."""
    save_file(TENSORS, tmp_path / "whole.safetensors", {"format": "pt"})
    saved = SavedTensors([tmp_path / "whole.safetensors"])
    assert all(torch.equal(saved.whole(name), value) for name, value in TENSORS.items())
    assert torch.equal(saved.read("matrix", 5, 20), TENSORS["matrix"].flatten()[5:25])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda files: files.pop(), r"matrix: \d+ of 35 elements from 0 on are in the files"),
        (lambda files: files.append(files[0]), r"matrix: \d+ of 35 elements from 0 on are in the files"),
        (lambda files: files.clear(), "matrix is in no file"),
        (lambda files: files[0].write_bytes(files[0].read_bytes()[:-1]), "do not fit bytes"),
        (lambda files: files[0].write_bytes(b"\xff" * 20), "its header would be"),
    ],
)
def test_missing_and_damaged_files_are_refused(spoil, message, tmp_path):
    files = written(tmp_path, 3)
    spoil(files)
    with pytest.raises(ValueError, match=message):
        SavedTensors(files).whole("matrix")


def test_shares_cover_every_element_once():
    for count in (0, 1, 5, 8, 97):
        for processes in (1, 2, 3, 8):
            shares = [share_of(count, number, processes) for number in range(processes)]
            assert [place for start, size in shares for place in range(start, start + size)] == list(range(count))


def test_a_writer_holds_one_tensor_at_a_time(tmp_path):
    held: weakref.WeakSet = weakref.WeakSet()

    def read(value: torch.Tensor) -> torch.Tensor:
        assert not held
        held.add(found := value.flatten().clone())
        return found

    slices = [replace(slice_tensor(name, value), read=partial(read, value)) for name, value in TENSORS.items()]
    write_slices(tmp_path / "one.safetensors", slices)
    assert load_file(tmp_path / "one.safetensors").keys() == TENSORS.keys()
