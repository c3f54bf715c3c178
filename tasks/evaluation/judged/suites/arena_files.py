"""Reads Arena-Hard's published files, in the form of 2024 (question_id, turns, choices) and in that of today (uid, prompt)."""

import ast
from pathlib import Path

import yaml

from infra.errors import BadInput
from tasks.evaluation.judged.suites.files import read_jsonl_rows

JUDGE_SETTINGS = "judge_utils.py"
V01 = "arena-hard-v0.1"  # the category of all its questions today; in 2024 they had none


def read_arena_questions(file: Path) -> list[tuple[str, str, str]]:
    """The id, the prompt and the category of each question."""
    return [
        (str(row["uid"]), row["prompt"], row.get("category", ""))
        if "uid" in row
        else (str(row["question_id"]), row["turns"][0]["content"], V01)
        for row in read_jsonl_rows(file)
    ]


def read_arena_answers(file: Path) -> dict[str, str]:
    """A model's answer to each question, by the question's id."""
    return {str(row.get("uid") or row["question_id"]): read_arena_answer(row) for row in read_jsonl_rows(file)}


def read_arena_answer(row: dict) -> str:
    if "choices" in row:
        turn = row["choices"][0]["turns"][0]
        return turn["content"] if isinstance(turn, dict) else turn
    content = row["messages"][-1]["content"]
    return content["answer"] if isinstance(content, dict) else content


def read_arena_template(folder: Path) -> tuple[str | None, str]:
    """The judge's system prompt and template. Today's configuration has no system prompt: it is in the authors' code."""
    config = yaml.safe_load((folder / "judge_config.yaml").read_text(encoding="utf-8"))
    template = config["prompt_template"]
    return config.get("system_prompt"), template if isinstance(template, str) else template[0]


def read_judge_settings(folder: Path, category: str) -> str:
    """The system prompt for a category of questions, out of JUDGE_SETTINGS in the authors' code, which is not run."""
    file, constants = folder / JUDGE_SETTINGS, {}
    if not file.is_file():
        raise BadInput(
            f"suite arena-hard: judge_config.yaml has no system_prompt; since 2025 it is in {JUDGE_SETTINGS} of the "
            "same repository (utils): put that file beside it"
        )
    try:
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Assign) and isinstance(name := statement.targets[0], ast.Name):
                constants[name.id] = read_constant(statement.value, constants)
        return constants["JUDGE_SETTINGS"][category]["system_prompt"]
    except (SyntaxError, ValueError, LookupError, TypeError, RecursionError) as problem:
        raise BadInput(f"{JUDGE_SETTINGS}: no JUDGE_SETTINGS with a system_prompt for {category!r}") from problem


def read_constant(node: ast.expr, constants: dict) -> object:
    """The value of texts, of names of texts, and of dictionaries of both."""
    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return constants[name]
        case ast.Dict(keys, values):
            return {
                read_constant(key, constants): read_constant(value, constants)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
    raise ValueError(f"{ast.unparse(node)[:80]} is not a constant")
