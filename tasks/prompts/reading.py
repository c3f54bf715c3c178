"""Reads prompts from Parquet and JSONL files (also gzipped JSONL), row by row, with row numbers. The number of a JSONL row is
its line number; in several files, the numbers continue from file to file. A row that cannot be read is a bad row; a file that
should not be opened raises BadInput."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from infra.errors import BadInput
from tasks.prompts.columns import Columns, read_prompt
from tasks.prompts.tables import Unreadable, parquet_rows

LONGEST = 2**26  # bytes of a line


def read_prompts(
    files: Sequence[Path], columns: Columns, category: str = "", drop_bad: bool = False
) -> Iterator[tuple]:
    """Yields (row number from 1, record, problem). The first bad row raises BadInput, unless `drop_bad` is true."""
    wanted = {name: must for name, (_, must) in columns.wanted().items()}
    for file, place, number, row in number_rows(files, lambda file: raw_rows(file, wanted)):
        try:
            if isinstance(row, Unreadable):
                raise ValueError(row.problem)
            yield number, read_prompt(row, columns, category), ""
        except ValueError as problem:
            if not drop_bad:
                raise BadInput(f"{file}, row {place}: {problem}") from problem
            yield number, None, str(problem)


def number_rows(files: Sequence[Path], read: Callable[[Path], Iterator[tuple[int, Any]]]) -> Iterator[tuple]:
    """Yields (file, row number in the file, row number over all files, row)."""
    before = 0
    for file in files:
        place = 0
        for place, row in read(file):
            yield file, place, before + place, row
        before += place


def raw_rows(file: Path, wanted: dict[str, bool] | None = None) -> Iterator[tuple[int, Any]]:
    """The file's rows as plain values. `wanted`: column -> whether it must exist. Of a Parquet file only these columns are
    read; if one is missing, all are read, so that the error message can list the existing ones."""
    match file_kind(file):
        case "parquet":
            yield from parquet_rows(file, wanted or {})
        case "jsonl":
            yield from read_json_lines(file, zipped=file.suffix.lower() == ".gz")
        case _:
            raise BadInput(f"{file}: the name must end in .parquet, .jsonl or .jsonl.gz")


def file_kind(file: Path) -> str:
    suffixes = [suffix.lower() for suffix in file.suffixes[-2:]]
    if suffixes[-1:] == [".parquet"]:
        return "parquet"
    lines = suffixes[-1:] in ([".jsonl"], [".json"], [".ndjson"]) or suffixes in ([".jsonl", ".gz"], [".json", ".gz"])
    return "jsonl" if lines else ""


def of_one_kind(field: str, files: list[Path]) -> list[Path]:
    """The files, if all are of one kind; otherwise BadInput: the user must choose files with a pattern."""
    for file in files[1:]:
        if file_kind(file) != file_kind(files[0]):
            raise BadInput(
                f"{field}: {files[0].name!r} and {file.name!r} have different formats; choose the files with a"
                " pattern such as *.jsonl"
            )
    return files


def read_json_lines(file: Path, zipped: bool) -> Iterator[tuple[int, Any]]:
    """Reads lines as bytes, because text mode would take a carriage return inside a row for its end."""
    try:
        with gzip.open(file) if zipped else file.open("rb") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(LONGEST + 1), b""), 1):
                if len(line) > LONGEST:
                    raise BadInput(f"{file}, row {number}: the line is longer than {LONGEST:,} bytes")
                if not line.isspace():
                    yield number, parse_line(line)
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise BadInput(f"{file}: not a complete gzip file: {problem}") from problem


def parse_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except RecursionError:
        return Unreadable("not JSON: nested too deeply")
    except json.JSONDecodeError as problem:
        return Unreadable(f"not JSON: {problem.msg} at character {problem.pos}")
    except ValueError as problem:  # not UTF-8, or a number of thousands of digits
        return Unreadable(f"not JSON: {problem}")
