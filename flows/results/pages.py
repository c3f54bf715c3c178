"""Writes the pages of a matrix, an examination and a recipe's sources into the workspace's folder of reports."""

from pathlib import Path

from tasks.report import matrix, source_view, suites


def write_matrix_page(table: dict, workspace: Path) -> Path:
    return write_page(workspace / "reports" / f"matrix-{table['name']}.html", matrix.render_matrix_page(table))


def write_examination_page(found: dict, workspace: Path) -> Path:
    return write_page(workspace / "reports" / f"evaluation-{found['name']}.html", suites.render_examination_page(found))


def write_sources_page(found: dict, workspace: Path) -> Path:
    return write_page(workspace / "reports" / f"sources-{found['recipe']}.html", source_view.render_sources_page(found))


def write_page(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file
