"""Damage of every kind, put into a real store: found by reading, named, and made again as exactly that."""

from types import SimpleNamespace

import pytest

from flows.upkeep.stored_pieces import pieces_of_artifact, pieces_of_recipe
from flows.upkeep.verify import find_damaged, repair_pieces
from infra.checkpoints import StoredCheckpoints
from infra.errors import CorruptArtifact
from infra.lease import hold_lease
from tasks.execution import watch_nothing
from tasks.stage import What, stage
from tests.test_pool import counts, right
from tests.test_pool import step as squares


class Nothing(What):
    """No settings."""


@stage("total", version="1")
def total(run, what, how, tables):
    (table,) = tables
    import pandas as pd

    rows = pd.read_parquet(run.file(table, "squares.parquet"))
    (run.folder / "total.txt").write_text(str(rows["square"].sum()))


@stage("page", version="1")
def page(run, what, how, totals):
    (one,) = totals
    (run.folder / "page.html").write_text(f"<b>{run.file(one, 'total.txt').read_text()}</b>")


def chain():
    """squares (with a pool) ─► total ─► page."""
    return page(what=Nothing(), totals=total(what=Nothing(), tables=squares(1, 2, 3)))


def steps(end) -> dict:
    (middle,) = end.inputs["totals"]
    return {"squares": middle.inputs["tables"][0], "total": middle, "page": end}


@pytest.fixture
def made(workplace):
    workplace.made(chain())
    return workplace


def manifests(made) -> dict:
    return {name: made.store.manifest(step.stage.name, step.fingerprint) for name, step in steps(chain()).items()}


def spoil(made, path: str, change) -> None:
    file = made.folder / "store" / path
    file.chmod(0o644)
    change(file)


def flip(file) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


CHANGES = {
    "a flipped bit": (flip, "sha256"),
    "cut short": (lambda file: file.write_bytes(file.read_bytes()[:-1]), "bytes expected"),
    "gone": (lambda file: file.unlink(), "missing"),
}


def found(made) -> list:
    return find_damaged(pieces_of_recipe(chain(), made.store), made.store)


def mended(made) -> list[str]:
    return repair_pieces(found(made), chain(), made, watch_nothing)


def test_a_whole_store_is_whole(made):
    pieces = pieces_of_recipe(chain(), made.store)
    assert [piece.owner.split("/")[0] for piece in pieces] == ["squares", "total", "page", "squares", "squares"]
    assert find_damaged(pieces, made.store) == []


@pytest.mark.parametrize("name", ["squares", "total", "page"])
@pytest.mark.parametrize("kind", CHANGES)
def test_a_damaged_file_is_named_and_exactly_its_artifact_is_made_again(made, name, kind):
    change, word = CHANGES[kind]
    before = manifests(made)
    spoil(made, before[name].files[0].path, change)
    (piece,) = found(made)
    assert piece.owner.startswith(f"{name}/") and before[name].files[0].path in piece.problem and word in piece.problem

    (said,) = mended(made)
    assert "made again, the same bytes as before" in said
    assert found(made) == []
    after = manifests(made)
    assert [other for other in before if after[other] != before[other]] == [name]  # no other one was touched
    assert after[name].content == before[name].content and after[name].attempt != before[name].attempt
    if name == "squares":
        assert counts(after[name]) == (3, 3, 0)  # its rows came from the pool


def test_a_damaged_manifest_is_named_and_its_artifact_made_again(made):
    before = manifests(made)
    spoil(made, f"{steps(chain())['total'].address}/MANIFEST.json", flip)
    (piece,) = found(made)
    assert piece.label == "total" and "not a valid manifest" in piece.problem
    assert "made again" in mended(made)[0]
    assert found(made) == [] and manifests(made)["total"].content == before["total"].content


def test_a_damaged_part_is_refilled_from_the_artifact(made):
    part = made.store.parts(steps(chain())["squares"].pool)[0]
    spoil(made, part.path, flip)
    (piece,) = found(made)
    assert part.path in piece.problem
    before = manifests(made)
    (said,) = mended(made)
    assert "3 rows restored" in said and found(made) == [] and manifests(made) == before
    wider = squares(3, 1, 2, 4)
    assert counts(made.made(wider)) == (4, 3, 1)  # the repaired pool is extended as if nothing had been
    assert right(made.table(wider, "squares.parquet"), (3, 1, 2, 4))


def test_of_a_damaged_part_and_artifact_only_the_lost_rows_are_made(made):
    known = manifests(made)["squares"]
    part, other = made.store.parts(steps(chain())["squares"].pool)
    spoil(made, part.path, flip)
    spoil(made, known.files[0].path, flip)
    mended(made)
    assert counts(manifests(made)["squares"]) == (3, other.rows, part.rows)
    assert found(made) == []


def test_what_a_damaged_artifact_needs_is_made_too_if_it_is_gone(made):
    (entry,) = manifests(made)["page"].files
    spoil(made, entry.path, flip)
    gone = steps(chain())["total"]
    made.store.discard("total", gone.fingerprint)
    assert [line.split(":")[0] for line in mended(made)] == ["total", "page"]
    assert found(made) == []


def test_other_bytes_than_before_are_told(made):
    """An artifact that is not made the same way twice: what followed from it stands on the earlier one."""
    end = chain()
    manifest = made.store.manifest("total", steps(end)["total"].fingerprint)
    made.store.discard("total", manifest.fingerprint)
    (made.folder / "other").mkdir()
    (made.folder / "other" / "total.txt").write_text("wrong")
    made.store.publish(made.folder / "other", manifest.model_copy(update={"files": ()}))
    spoil(made, manifests(made)["total"].files[0].path, flip)
    (said,) = mended(made)
    assert "DIFFERENT bytes than before" in said


def test_an_artifact_is_read_with_all_it_was_made_from(made):
    known = manifests(made)
    spoil(made, known["squares"].files[0].path, flip)
    pieces = pieces_of_artifact(known["page"], made.store)
    assert [piece.owner.split("/")[0] for piece in pieces] == ["page", "total", "squares"]
    assert [piece.label for piece in find_damaged(pieces, made.store)] == ["squares"]
    assert find_damaged(pieces_of_artifact(known["total"], made.store)[:1], made.store) == []


def test_a_sample_reads_so_many_files_and_another_seed_reads_others(made):
    reads = []
    store = SimpleNamespace(problem=lambda entry: reads.append(entry.path))
    pieces = pieces_of_recipe(chain(), made.store)
    seen = set()
    for seed in range(20):
        reads.clear()
        find_damaged(pieces, store, sample=2, seed=seed)
        assert len(set(reads)) == 2
        seen |= set(reads)
    assert seen == {piece.entry.path for piece in pieces}


@pytest.fixture
def begun(made, tmp_path):
    """As if `page` had been stopped after two checkpoints."""
    checkpoints = StoredCheckpoints(made.store.blobs, steps(chain())["page"].address)
    for step in ("000000001", "000000002"):
        (tmp_path / step).mkdir()
        (tmp_path / step / "weights").write_text(f"weights after {step}")
        checkpoints.keep(tmp_path / step, step)
    return checkpoints


@pytest.mark.parametrize("what", ["000000002.json", "weights"])
@pytest.mark.parametrize("kind", CHANGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(made, begun, what, kind, tmp_path):
    assert found(made) == []
    change, _ = CHANGES[kind]
    if what == "weights":
        what = next(path for path in made.store.blobs.list(begun.root) if made.store.blobs.read(path).endswith(b"2"))
    spoil(made, what if "/" in what else f"{begun.root}/{what}", change)
    if what.endswith(".json") and kind == "gone":
        assert begun.names() == ["000000001"] and found(made) == []  # without a marker it did not happen
        return
    (piece,) = found(made)
    assert piece.label == "page, checkpoint 000000002" and begun.root in piece.problem
    with pytest.raises((CorruptArtifact, FileNotFoundError)):
        begun.fetch("000000002", tmp_path / "back")
    before = manifests(made)
    (said,) = mended(made)
    assert "deleted; the training continues from the checkpoint before" in said
    assert begun.names() == ["000000001"] and found(made) == [] and manifests(made) == before
    begun.fetch("000000001", tmp_path / "back")
    assert (tmp_path / "back" / "weights").read_text() == "weights after 000000001"


def test_a_damaged_lease_is_named_and_deleted_before_what_is_made_under_it(made):
    page = steps(chain())["page"]
    with hold_lease(made.store.blobs, page.address):
        pass
    spoil(made, f"_leases/{page.address}.json", lambda file: file.write_bytes(b"\x7f" + file.read_bytes()))
    spoil(made, manifests(made)["page"].files[0].path, flip)
    assert [piece.label for piece in found(made)] == ["page, lease", "page"]
    said = mended(made)
    assert "page, lease: deleted" in said[0] and "the same bytes as before" in said[1] and found(made) == []


def test_a_damaged_lease_on_a_share_of_a_pool_is_named_and_deleted(made):
    pool = f"pools/{steps(chain())['squares'].pool}"
    with hold_lease(made.store.blobs, f"{pool}/2-of-3"):
        pass
    assert found(made) == []
    spoil(made, f"_leases/{pool}/2-of-3.json", lambda file: file.write_bytes(b"\x7f" + file.read_bytes()))
    (piece,) = found(made)
    assert piece.label == "squares, lease" and "2-of-3.json: not a valid lease" in piece.problem
    assert "deleted" in mended(made)[0] and found(made) == []
