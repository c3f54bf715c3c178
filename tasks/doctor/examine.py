"""Program: the doctor. Reads tokenizers, configurations and prompts, but no weights, and writes its findings.

JOB {models: [{name, folder, answers, classifies, max_new_tokens, context, trained, scored, origin}], prompts}; writes
OUT/findings.json.
"""

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from infra.errors import BadInput
from tasks.doctor import checks
from tasks.doctor.findings import Finding
from tasks.loading import LOCAL, report_load_errors
from tasks.positions import position_limit
from tasks.program import Progress, run_program, write_json
from tasks.tokens import generation_of, prompt_ids

TRIED = 1000  # number of random prompts, and of longest prompts, that are tokenized for each model


def examine_all(job: dict, out: Path, progress: Progress) -> dict:
    prompts = choose_prompts(job["prompts"])
    found = []
    for number, model in enumerate(job["models"], 1):
        found += examine_model(model, prompts)
        progress(number, len(job["models"]), "models")
    write_json(out / "findings.json", {"findings": [asdict(finding) for finding in found]})
    return {"models": len(job["models"]), "red": sum(finding.red for finding in found)}


def choose_prompts(file: str) -> list[list[dict]]:
    """Random prompts (the first ones: their ids are hashes) and the longest of the others."""
    messages = pq.read_table(file, columns=["messages"])["messages"].to_pylist()
    longest = sorted(messages[TRIED:], key=lambda turns: -sum(len(turn["content"]) for turn in turns))
    return messages[:TRIED] + longest[:TRIED]


def examine_model(model: dict, prompts: list[list[dict]]) -> list[Finding]:
    name, folder, code = model["name"], Path(model["folder"]), []
    try:
        with report_load_errors(f"model: {folder}"):
            code = remote_code(name, folder, model["origin"])
            config = AutoConfig.from_pretrained(folder, **LOCAL)
            tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
            generation = generation_of(folder) if model["answers"] else None
    except BadInput as problem:
        needs_code = (
            "the model needs code from its repository, which this project never runs: serve the model at an endpoint, or "
            "remove it"
        )
        problem_text = needs_code if "custom code" in str(problem) else str(problem)[:200]
        return [*code, Finding(name, "loads", True, problem_text)]
    if model["classifies"]:
        code.append(checks.check_classifier_head(name, config.to_dict()))
    if not tokenizer.chat_template:
        return [*code, Finding(name, "template", True, "the tokenizer has no chat template")]
    try:
        with report_load_errors("the chat template"):
            checks.render_conversation(
                tokenizer, ("user", checks.QUESTION), ("assistant", checks.ANSWER), opening=False
            )
            checks.render_conversation(tokenizer, ("user", checks.QUESTION))
    except BadInput as problem:
        return [*code, Finding(name, "template", True, str(problem)[:200])]
    if (context_length := getattr(config.get_text_config(), "max_position_embeddings", None)) is None:
        return [*code, Finding(name, "context", True, "the model's configuration has no max_position_embeddings")]
    systems = sum(any(turn["role"] == "system" for turn in turns) for turns in prompts)
    found = [*code, *checks.check_template(name, tokenizer), checks.system_role(name, tokenizer, systems)]
    lengths, unread = measure_prompts(tokenizer, prompts)
    if unread:
        found.append(Finding(name, "renders", True, f"the template refuses {len(unread)} prompts: {unread[0]}"))
    found.append(checks.check_context(name, context_length, model["context"], model["max_new_tokens"], model["scored"]))
    if model["answers"]:
        assert generation is not None
        found.append(checks.check_end_tokens(name, tokenizer, generation.eos_token_id))
        found.append(checks.check_truncation(name, lengths, context_length, model["max_new_tokens"]))
    if model["trained"]:
        found.append(checks.check_trainable(name, lengths, model["trained"]))
    if limit := position_limit(config):
        found.append(checks.positions(name, limit, model["trained"]))
    if prompts and not unread:
        first = tokenizer.apply_chat_template(prompts[0], tokenize=False, add_generation_prompt=True)
        found.append(Finding(name, "first-prompt", False, first))
    return found


def measure_prompts(tokenizer: PreTrainedTokenizerBase, prompts: list[list[dict]]) -> tuple[list[int], list[str]]:
    """The prompts' lengths in tokens, and the template's errors for prompts that it refuses."""
    lengths, unread = [], []
    for turns in prompts:
        try:
            lengths.append(len(prompt_ids(tokenizer, turns)))
        except BadInput as problem:
            unread.append(str(problem))
    return lengths, unread


def remote_code(name: str, folder: Path, origin: str) -> list[Finding]:
    """Names the code in a model's repository. It is never run here, but a server elsewhere may run it."""
    named = [
        f"{file}: {', '.join(sorted(map(str, flatten_names(json.loads((folder / file).read_text()).get('auto_map', {})))))}"
        for file in ("config.json", "tokenizer_config.json")
        if (folder / file).is_file() and "auto_map" in (folder / file).read_text()
    ]
    return (
        [
            Finding(
                name,
                "remote-code",
                False,
                f"{origin} contains code, which this project does not run: {'; '.join(named)}",
            )
        ]
        if named
        else []
    )


def flatten_names(names: dict) -> list[str]:
    return [name for value in names.values() for name in (value if isinstance(value, list) else [value]) if name]


if __name__ == "__main__":
    run_program(examine_all)
