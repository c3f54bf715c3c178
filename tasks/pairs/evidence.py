"""Gathers the scored responses of one part's prompts from artifacts, and applies a recipe's rule to them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from infra.manifest import Manifest
from infra.settings import count_cores
from tasks.execution import Run
from tasks.pairs import candidates
from tasks.pairs.rules import Categories, ChoosingRule, GivenResponse, Rule
from tasks.pairs.selection import Selection, laid_out, select_rows

pc: Any = pyarrow.compute  # it makes its functions at import, where no type checker sees them
Manifests = tuple[Manifest, ...]


@dataclass(frozen=True)
class Evidence:
    """The candidates for a part's prompts. `files`: the sources' responses in the order of `names`, then the SFT model's."""

    prompts: pa.Table
    names: tuple[str, ...]
    files: list[Path]
    sources: pd.DataFrame
    own: pd.DataFrame

    def fetch(self, column: str, *chosen: pd.DataFrame) -> list[pa.ChunkedArray]:
        """The column's values for each of the tables of chosen rows, in one pass over the files."""
        rows = pd.concat(chosen)
        values = candidates.fetch_column(self.files, column, rows["source"].to_numpy(), rows["row"].to_numpy())
        ends = np.cumsum([len(table) for table in chosen])
        return [values.slice(end - len(table), len(table)) for end, table in zip(ends, chosen, strict=True)]

    def same(self, left: pd.DataFrame, right: pd.DataFrame) -> np.ndarray:
        return pc.equal(*self.fetch("content_id", left, right)).to_numpy()

    def of(self, rule: Rule) -> pd.DataFrame:
        """The candidates from the sources that a rule reads."""
        used = rule.uses(self.names)
        if used == self.names:
            return self.sources
        return self.sources[self.sources["source"].isin([self.names.index(name) for name in used])]


def gather_evidence(
    run: Run,
    prompts: pa.Table,
    names: tuple[str, ...],
    sources: tuple[Manifests, Manifests, Manifests],
    own: tuple[Manifests, Manifests] = ((), ()),
) -> Evidence:
    """Reads the candidates. `sources` and `own`: responses, scores, and checks (for all sources, or empty)."""
    ids = prompts["prompt_id"].combine_chunks()
    files: list[Path] = []

    def read(responses: Manifests, scores: Manifests, checks: Manifests = ()) -> pd.DataFrame:
        texts = [run.file(manifest, "responses.parquet") for manifest in responses]
        score = [run.file(manifest, "scores.parquet") for manifest in scores]
        check = [run.file(manifest, "scores.parquet") for manifest in checks] or [None] * len(texts)
        number = range(len(files), len(files) + len(texts))
        files.extend(texts)
        with ThreadPoolExecutor(count_cores()) as pool:
            models = zip(texts, score, check, number, strict=True)
            tables = list(pool.map(lambda model: candidates.read_candidates(*model, prompts=ids), models))
        return candidates.with_one_score(pd.concat(tables or [candidates.NONE], ignore_index=True))

    return Evidence(prompts, names, sources=read(*sources), own=read(*own), files=files)


def read_part_prompts(run: Run, name: str, prompts: Manifests, splits: Manifests, given: bool = False) -> pa.Table:
    """The prompts of one part of the split, in the order of their ids; all prompts if there are no splits. `given`: with
    the responses that came with the prompts."""
    columns = ["prompt_id", "messages", "category", *(["response"] if given else [])]
    rows = pq.read_table(run.file(prompts[0], "prompts.parquet"), columns=columns)
    if not splits:
        return rows
    parts = pq.read_table(run.file(splits[0], "splits.parquet"))
    wanted = parts.filter(pc.equal(parts["part"], name))["prompt_id"].combine_chunks()
    return rows.filter(pc.is_in(rows["prompt_id"], value_set=wanted))


def apply_rule(rule: Rule, evidence: Evidence) -> Selection:
    """Applies the rule, or each category's rule, to all prompts, and adds up the counts."""
    count = len(evidence.prompts)
    whole = Selection({}, np.zeros(count, bool), {"prompts": count})
    for single, wanted in split_by_rule(rule, evidence.prompts["category"], whole):
        found = (
            select_given(wanted, evidence)
            if isinstance(single, GivenResponse)
            else chosen_by(cast(ChoosingRule, single), wanted, evidence)
        )
        for role, rows in found.chosen.items():
            whole.chosen.setdefault(role, laid_out(candidates.NONE, count))[found.kept] = rows[found.kept]
        whole.kept |= found.kept
        for name, number in found.counts.items():
            whole.counts[name] = whole.counts.get(name, 0) + number
    return whole


def split_by_rule(rule: Rule, category: pa.ChunkedArray, whole: Selection) -> list[tuple[Rule, np.ndarray]]:
    """Each single rule with a mask of the prompts that it decides."""
    if not isinstance(rule, Categories):
        return [(rule, np.ones(len(category), bool))]
    category = category.to_numpy()
    whole.counts["dropped_without_rule"] = int((~np.isin(category, list(rule.rules))).sum())
    return [(single, category == name) for name, single in rule.rules.items()]


def chosen_by(rule: ChoosingRule, wanted: np.ndarray, evidence: Evidence) -> Selection:
    own = evidence.own if rule.reads_own else candidates.NONE
    return select_rows(rule, wanted, evidence.of(rule), own, evidence.same)


def select_given(wanted: np.ndarray, evidence: Evidence) -> Selection:
    """Keeps the prompts that came with a response; chooses no source's response for them."""
    present = evidence.prompts["response"].is_valid().to_numpy()
    counts = {"dropped_without_response": int((wanted & ~present).sum())}
    return Selection({"best": laid_out(candidates.NONE, len(wanted))}, wanted & present, counts)
