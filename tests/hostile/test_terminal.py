"""What strangers wrote, on a terminal: shown and not obeyed, and what is said of bad input stays one line."""

import io
import re
from types import SimpleNamespace

import pytest

from flows.cli import console, tables
from flows.cli.lineage import show_lineage
from flows.config.loading import SHIPPED
from flows.results.data_card import ancestors
from flows.results.markdown import code, plain
from flows.upkeep.stored_pieces import Piece
from infra.errors import BadInput
from infra.store import Store
from infra.visible import LONGEST, one_line, visible
from tasks.doctor.findings import Finding
from tests.hostile.said import refused
from tests.infra.test_store import draft, folder_of

DEMO = (SHIPPED / "demo.toml").read_text()
CLEAR, TITLE, TURNED = "\x1b[2J", "\x1b]0;taken\x07", "\u202e"
EVIL = f"a{CLEAR}{TITLE}\x9b31m{TURNED}\r\ud800"
KEYS = {"a line end": "a\\nb", "an escape": "a\\u001b[2Jb", "turned": "a\\u202eb", "long": "a" * 100_000}


@pytest.mark.parametrize("name", KEYS)
def test_a_field_of_any_name_is_refused_in_a_line(name, tmp_path, workplace, capsys):
    (tmp_path / "recipe.toml").write_text(f'"{KEYS[name]}" = 1\n{DEMO}')
    assert "there is no such field" in refused(capsys, "plan", tmp_path / "recipe.toml") or name == "long"
    refused(capsys, "plan", "demo", "--set", f"{KEYS[name].encode().decode('unicode_escape')}=1")
    refused(capsys, "plan", "demo", "--set", KEYS[name].encode().decode("unicode_escape"))


def test_an_index_is_of_plain_digits(workplace, capsys):
    for index in ("²", "٠", "9" * 300):
        assert "in the list" in refused(capsys, "plan", "demo", "--set", f"sources.{index}.model.steps=1")


def test_letters_of_all_scripts_stay_and_what_a_terminal_obeys_is_spelled():
    plain = "é 日本 שלום 👩‍👩‍👧\tx\ny"
    assert visible(plain) == plain and one_line(plain) == plain.replace("\n", " ")
    assert visible(EVIL).isprintable() and "\\x1b[2J" in visible(EVIL)
    assert len(one_line("x" * 10_000)) < LONGEST + 40


@pytest.fixture
def terminal(monkeypatch):
    """A terminal with colours, and what was written to it."""
    written = io.StringIO()
    make = lambda: console.Terminal(
        file=written, force_terminal=True, color_system="truecolor", width=200, highlight=False
    )
    monkeypatch.setattr(console, "make_console", make)
    return make(), written


def harmless(written: io.StringIO) -> bool:
    text = written.getvalue()
    text.encode("utf-8")
    return not any(evil in text for evil in (CLEAR, TITLE, "\x9b", TURNED, "\r"))


def test_lineage_shows_labels_settings_and_counts_as_they_are_written(terminal, tmp_path):
    store = Store(str(tmp_path / "store"), tmp_path / "cache")
    said = EVIL.replace("\ud800", "") + "[bold red]\\[blink]"
    spoilt = draft().model_copy(
        update={"label": said, "what": {said: {said: said}}, "counts": {said: said}, "version": said}
    )
    made = store.publish(folder_of(tmp_path / "out", {"rows": b"rows"}), spoilt)
    shown, written = terminal
    show_lineage(shown, made, store)
    assert harmless(written) and written.getvalue().count("[bold red]\\[blink]") >= 3
    assert "\x1b[5m" not in written.getvalue()


def test_a_doctors_findings_show_a_template_as_it_is(terminal):
    shown, written = terminal
    finding = Finding("target", "first-prompt", False, f"{EVIL}[/][blink]")
    tables.show_findings(shown, [finding], {})
    assert harmless(written) and "[blink]" in written.getvalue()


def test_a_terminals_own_colours_are_left(terminal):
    shown, written = terminal
    shown.print("[red]x[/]")
    assert "\x1b[31mx" in written.getvalue()


@pytest.mark.parametrize(
    "said", [EVIL, "</table><script>", "a|b", "[x](javascript:1)", "![x](y)", "`a`", "&lt;", "a\nb"]
)
def test_a_card_shows_what_others_wrote_and_ends_no_cell_with_it(said):
    for shown in (plain(said), code(said)):
        assert "\n" not in shown and shown.isprintable()
    assert not re.search(r"(?<!\\)[<>|`\[\]&]", plain(said).replace("\\\\", ""))
    assert "|" not in code(said) and code(said).count("`") == 2


def test_a_card_whose_lineage_is_no_longer_whole_is_refused(tmp_path):
    store = Store(str(tmp_path / "store"), tmp_path / "cache")
    made = store.publish(folder_of(tmp_path / "out", {"rows": b"rows"}), draft())
    with pytest.raises(BadInput, match="sample_responses/ff is not in the store any more"):
        ancestors([made], store)


def test_labels_and_reasons_are_no_markup(terminal):
    shown, written = terminal
    said = f"[/]{EVIL}[blink]"
    step = SimpleNamespace(label=said, address="a/b", fingerprint="ab", stage=SimpleNamespace(name="model"))
    tables.show_plan(shown, [SimpleNamespace(state="to do", step=step, reasons=[said], runs=True)])
    tables.show_damage(shown, [Piece("a", said, None, said)], [Piece("a", said, None, said)], None)
    watcher = console.Watcher(shown)
    for doing in ("running", said, "done"):
        watcher(step, doing, 1, 2, "rows")
    assert harmless(written) and written.getvalue().count("[blink]") >= 5 and "\x1b[5m" not in written.getvalue()
