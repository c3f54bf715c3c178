"""All that is known of one part's prompts, gathered from artifacts; and a recipe's rule applied to it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.manifest import Manifest
from infra.settings import cores
from tasks.execution import Run
from tasks.pairs import candidates
from tasks.pairs.rules import Categories, Given, Rule
from tasks.pairs.selection import Selection, laid_out, select

Manifests = tuple[Manifest, ...]


@dataclass(frozen=True)
class Evidence:
    """`files` holds the sources' responses in the order of `names`, then the SFT model's own."""

    prompts: pa.Table
    names: tuple[str, ...]
    files: list[Path]
    sources: pd.DataFrame
    own: pd.DataFrame

    def fetch(self, column: str, *chosen: pd.DataFrame) -> list[pa.ChunkedArray]:
        """The column's values at the chosen rows, in one pass over the files."""
        rows = pd.concat(chosen)
        values = candidates.fetch(self.files, column, rows["source"].to_numpy(), rows["row"].to_numpy())
        ends = np.cumsum([len(one) for one in chosen])
        return [values.slice(end - len(one), len(one)) for end, one in zip(ends, chosen, strict=True)]

    def same(self, left: pd.DataFrame, right: pd.DataFrame) -> np.ndarray:
        return pc.equal(*self.fetch("content_id", left, right)).to_numpy()

    def of(self, rule: Rule) -> pd.DataFrame:
        """The candidates of the sources that a rule reads."""
        used = rule.uses(self.names)
        if used == self.names:
            return self.sources
        return self.sources[self.sources["source"].isin([self.names.index(name) for name in used])]


def gather(
    run: Run,
    prompts: pa.Table,
    names: tuple[str, ...],
    sources: tuple[Manifests, Manifests, Manifests],
    own: tuple[Manifests, Manifests] = ((), ()),
) -> Evidence:
    """`sources` and `own`: responses, scores and, for all sources or none, checks."""
    ids = prompts["prompt_id"].combine_chunks()
    files: list[Path] = []

    def read(responses: Manifests, scores: Manifests, checks: Manifests = ()) -> pd.DataFrame:
        given = [run.file(made, "responses.parquet") for made in responses]
        score = [run.file(judged, "scores.parquet") for judged in scores]
        check = [run.file(checked, "scores.parquet") for checked in checks] or [None] * len(given)
        number = range(len(files), len(files) + len(given))
        files.extend(given)
        with ThreadPoolExecutor(cores()) as pool:
            models = zip(given, score, check, number, strict=True)
            tables = list(pool.map(lambda model: candidates.read(*model, ids), models))
        return candidates.with_one_score(pd.concat(tables or [candidates.NONE], ignore_index=True))

    return Evidence(prompts, names, sources=read(*sources), own=read(*own), files=files)


def part(run: Run, name: str, prompts: Manifests, splits: Manifests, given: bool = False) -> pa.Table:
    """The prompts of one part of the split in the order of their ids, or all of them; `given`: with their responses."""
    columns = ["prompt_id", "messages", "category", *(["response"] if given else [])]
    rows = pq.read_table(run.file(prompts[0], "prompts.parquet"), columns=columns)
    if not splits:
        return rows
    parts = pq.read_table(run.file(splits[0], "splits.parquet"))
    wanted = parts.filter(pc.equal(parts["part"], name))["prompt_id"].combine_chunks()
    return rows.filter(pc.is_in(rows["prompt_id"], value_set=wanted))


def apply(rule: Rule, evidence: Evidence) -> Selection:
    """The rule, or each category's own, on all prompts; the counts are sums."""
    count = len(evidence.prompts)
    whole = Selection({}, np.zeros(count, bool), {"prompts": count})
    for one, asked in shares(rule, evidence.prompts["category"], whole):
        found = given(asked, evidence) if isinstance(one, Given) else chosen_by(one, asked, evidence)
        for role, rows in found.chosen.items():
            whole.chosen.setdefault(role, laid_out(candidates.NONE, count))[found.kept] = rows[found.kept]
        whole.kept |= found.kept
        for name, number in found.counts.items():
            whole.counts[name] = whole.counts.get(name, 0) + number
    return whole


def shares(rule: Rule, category: pa.ChunkedArray, whole: Selection) -> list[tuple[Rule, np.ndarray]]:
    """Which prompts each rule is asked about."""
    if not isinstance(rule, Categories):
        return [(rule, np.ones(len(category), bool))]
    category = category.to_numpy()
    whole.counts["dropped_without_rule"] = int((~np.isin(category, list(rule.rules))).sum())
    return [(one, category == name) for name, one in rule.rules.items()]


def chosen_by(rule: Rule, asked: np.ndarray, evidence: Evidence) -> Selection:
    own = evidence.own if rule.reads_own else candidates.NONE
    return select(rule, asked, evidence.of(rule), own, evidence.same)


def given(asked: np.ndarray, evidence: Evidence) -> Selection:
    """The prompts that came with a response: no source's row is chosen for them."""
    there = evidence.prompts["response"].is_valid().to_numpy()
    lost = int((asked & ~there).sum())
    return Selection({"best": laid_out(candidates.NONE, len(asked))}, asked & there, {"dropped_without_response": lost})
