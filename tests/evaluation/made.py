"""The suites' folders in small, in the form their authors publish, and sheets of judged answers to them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.evaluation.judged.metrics import SUITES, AnswerSheet, add_verdicts

ALPACA_PROMPT = """<|im_start|>system
You compare.
<|im_end|>
<|im_start|>user
{instruction}
m: {output_1}
M: {output_2}
<|im_end|>"""
ARENA_CONFIG = """
system_prompt: "You judge."
prompt_template: ["Q {question_1}\\nA {answer_1}\\nB {answer_2}"]
"""
MT_PROMPTS = [
    {"name": "single-v1", "system_prompt": "Help.", "prompt_template": "{question}|{answer}"},
    {"name": "single-math-v1", "system_prompt": "Help.", "prompt_template": "{question}|{ref_answer_1}|{answer}"},
    {"name": "single-v1-multi-turn", "system_prompt": "Rate.", "prompt_template": "{answer_1}|{question_2}|{answer_2}"},
    {
        "name": "single-math-v1-multi-turn",
        "system_prompt": "Rate.",
        "prompt_template": "{ref_answer_2}|{question_2}|{answer_2}",
    },
]
CATEGORIES = ("基本任务", "中文理解", "数学计算", "逻辑推理")


def write_lines(file: Path, rows: list[dict]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def folder_of(suite: str, at: Path, questions: int = 12) -> Path:
    at.mkdir(parents=True)
    FOLDERS[suite](at, range(questions))
    return at


def alpaca(at: Path, places: range) -> None:
    rows = [{"instruction": f"Tell {place}.", "output": f"Told {place}. " * 5, "dataset": "made"} for place in places]
    (at / "alpaca_eval.json").write_text(json.dumps(rows))
    (at / "judge_prompt.txt").write_text(ALPACA_PROMPT)
    draw = np.random.default_rng(5)
    one = {"index": list(places), "instruction_difficulty": draw.normal(size=len(places))}
    gamed = [
        pd.DataFrame(one).assign(
            preference=draw.random(len(places)), std_delta_len=draw.normal(size=len(places)), model=name
        )
        for name in ("verbose", "concise")
    ]
    pd.concat(gamed).to_csv(at / "df_gamed.csv", index=False)


def arena(at: Path, places: range) -> None:
    write_lines(at / "question.jsonl", [{"question_id": f"q{n}", "turns": [{"content": f"Do {n}"}]} for n in places])
    write_lines(
        at / "baseline.jsonl",
        [{"question_id": f"q{n}", "choices": [{"turns": [{"content": f"Done {n}"}]}]} for n in places],
    )
    (at / "judge_config.yaml").write_text(ARENA_CONFIG)


TODAY_CONFIG = """
prompt_template: "Q {QUESTION}\\nA {ANSWER_A}\\nB {ANSWER_B}"
"""
TODAY_SETTINGS = """
OG = "You judge."

JUDGE_SETTINGS = {
    "hard_prompt": {"baseline": "o3-mini-2025-01-31", "system_prompt": OG},
    "creative_writing": {"baseline": "gemini-2.0-flash-001", "system_prompt": "You judge art."},
    "arena-hard-v0.1": {"baseline": "gpt-4-0314", "system_prompt": OG},
}
"""


def today(at: Path, categories: dict[str, str], answers: dict[str, str]) -> None:
    """Arena-Hard's files as they are published since 2025."""
    questions = [{"uid": name, "category": kind, "prompt": f"Do {name[1:]}"} for name, kind in categories.items()]
    write_lines(at / "question.jsonl", questions)
    for file, said in answers.items():
        turns = lambda name, said=said: [
            {"role": "user", "content": "?"},
            {"content": {"answer": f"{said} {name[1:]}"}},
        ]
        write_lines(at / file, [{"uid": name, "messages": turns(name)} for name in categories])
    (at / "judge_config.yaml").write_text(TODAY_CONFIG)
    (at / "judge_utils.py").write_text(TODAY_SETTINGS)


def arena_v2(at: Path, places: range) -> None:
    kinds = {f"q{n}": "creative_writing" if n % 3 == 0 else "hard_prompt" for n in places}
    today(at, kinds, {"o3-mini-2025-01-31.jsonl": "Solved", "gemini-2.0-flash-001.jsonl": "Sung"})


def mt(at: Path, places: range) -> None:
    kinds = ("writing", "math")
    write_lines(
        at / "question.jsonl",
        [{"question_id": n, "category": kinds[n % 2], "turns": [f"Say {n}", f"Again {n}"]} for n in places],
    )
    write_lines(
        at / "reference.jsonl",
        [{"question_id": n, "choices": [{"turns": [f"Ref {n}", f"Ref again {n}"]}]} for n in places if n % 2],
    )
    write_lines(at / "judge_prompts.jsonl", MT_PROMPTS)


def align(at: Path, places: range) -> None:
    rows = [
        {
            "question_id": n,
            "question": f"问{n}",
            "reference": f"答{n}",
            "category": CATEGORIES[n % 4],
            "subcategory": "常识知识",
        }
        for n in places
    ]
    write_lines(at / "data_v1.1_release.jsonl", rows)
    for name, value in (
        ("dimension_set", {"事实": ["正确", "清晰"]}),
        ("dimension_definition", {"正确": "对", "清晰": "明白"}),
        ("subcategory_question_mapping", {"常识知识": "事实"}),
    ):
        (at / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False))
    (at / "judge_prompt.txt").write_text("{category}\n{dimensions}{question}\n{reference}\n{answer}")


FOLDERS = {
    "alpaca-eval": alpaca,
    "arena-hard": arena,
    "arena-hard-v2.0": arena_v2,
    "mt-bench": mt,
    "align-bench": align,
}


def reply(suite: str, quality: float, name: str) -> dict:
    """What a judge writes that finds the candidate so good, 0 to 1."""
    match suite:
        case "alpaca-eval":
            letters = {"M": quality, "m": 1 - quality} if name == "as is" else {"m": quality, "M": 1 - quality}
            listed = [{"token": token, "logprob": float(np.log(max(p, 1e-9)))} for token, p in letters.items()]
            return {"content": "m", "top_logprobs": listed}
        case "arena-hard" | "arena-hard-v2.0":
            labels = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
            at = round(4 * quality) if name == "as is" else 4 - round(4 * quality)
            return {"content": f"So my verdict is [[{labels[at]}]]."}
        case "mt-bench":
            return {"content": f"Rating: [[{1 + round(9 * quality)}]]"}
    return {"content": f"{{'正确': 3}} 于是 {{'正确': 5, '综合得分': {1 + round(9 * quality)}}}"}


def sheet(suite: str, folder: Path, quality: dict[str, float], words: str = "An answer to {}.") -> AnswerSheet:
    """A model whose answers a judge finds so good, by question."""
    rules = SUITES[suite]
    questions = {one.question_id: one for one in rules.read_questions(folder)}
    answers = {name: (words.format(name),) * rules.turns for name in questions}
    judge_prompt = rules.read_judge_prompt(folder)
    rows = [
        {
            "question_id": game.question_id,
            "name": game.name,
            "status": "judged",
            "reply": json.dumps(reply(suite, quality[game.question_id], game.name), ensure_ascii=False),
        }
        for name, question in questions.items()
        for game in rules.make_games(judge_prompt, question, answers[name])
    ]
    return AnswerSheet(suite, folder, questions, answers, add_verdicts(pd.DataFrame(rows), suite))
