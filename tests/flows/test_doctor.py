"""The doctor finds each defect of a tokenizer that the test gave it, and nothing on one without; red stops a run."""

import json
import tomllib

import pytest

from flows.config.loading import load_recipe
from flows.config.recipe import Doctor
from flows.doctor import list_examined_models, select_blocking
from flows.fusion import fusion
from infra.errors import BadInput
from tasks.doctor.findings import Finding
from tests import tiny
from tests.node.node import Node

SOUND = tiny.TEMPLATE
SYSTEM = "{% if messages[0].role != 'system' %}<user>You are a helpful assistant.<end>{% endif %}"
DATED = "<user>Today date: 26 Jul 2024<end>"
DEFECTS = {
    "one-bos": {"template": "{{ bos_token }}" + SOUND},
    "prefix": {"template": SOUND.replace("{{ turn.content }}", "{{ turn.content }}{{ loop.last }}")},
    "default-system": {"template": SOUND.replace("{% for", SYSTEM + "{% for", 1)},
    "date": {"template": SOUND.replace("{% for", DATED + "{% for", 1)},
    "end-tokens": {"generation": {"eos_token_id": [2]}},
    "context": {"stated": 4096},
    "truncation": {"positions": 24},
    "template": {"template": ""},
    "loads": {"config": {"model_type": "its-own", "auto_map": {"AutoConfig": "own.Own"}}},
    "system-role": {"template": "{{ '' if messages[0].role != 'system' else raise_exception('no system') }}" + SOUND},
}
ALSO = {"date": {"default-system"}, "truncation": {"context"}, "system-role": {"renders"}}


def folder(path, template=SOUND, generation=None, positions=None, config=None, stated=0, **tokens):
    tiny.folder(path)
    tiny.tokenizer(template=template or None, **tokens).save_pretrained(path)
    if not template:
        (path / "chat_template.jinja").unlink(missing_ok=True)
    edit(path / "config.json", (config or {}) | ({"max_position_embeddings": positions} if positions else {}))
    edit(path / "generation_config.json", generation or {})
    return path


def edit(file, changes: dict) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


PROMPTS = [[{"role": "user", "content": text}] for text in ("why?", "what is it that you say")]
BRIEF = [[{"role": "system", "content": "be brief"}, *PROMPTS[0]]]


def seen(path, prompts=PROMPTS, stated=0, **model):
    """What the doctor's program says of such a model, on these prompts."""
    from tasks.doctor.examine import examine_model

    return examine_model(place(folder(path / "model", **model)) | {"context": stated}, prompts)


def place(path, **changes) -> dict:
    """A model as the doctor's program is told of it."""
    lengths = {"max_new_tokens": 32, "context": 0, "trained": 0, "scored": 0}
    told = {"name": "mirror", "folder": str(path), "origin": "somewhere", "answers": True, "classifies": False}
    return {**told, **lengths, **changes}


def red(findings) -> set[str]:
    return {one.check for one in findings if one.red}


def test_a_sound_model_is_green_and_its_first_prompt_is_shown(tmp_path):
    findings = seen(tmp_path, stated=512)
    assert red(findings) == set()
    (first,) = [one.text for one in findings if one.check == "first-prompt"]
    assert first == "<bos><user>why?<end><assistant>"


@pytest.mark.parametrize("check", DEFECTS)
def test_each_defect_is_found_under_its_name_and_nothing_else_is(tmp_path, check):
    findings = seen(tmp_path, BRIEF if check == "system-role" else PROMPTS, **DEFECTS[check])
    assert check in red(findings) and red(findings) <= {check} | ALSO.get(check, set())


def test_a_system_role_that_no_prompt_needs_is_said_and_not_red(tmp_path):
    findings = seen(tmp_path, **DEFECTS["system-role"])
    (said,) = [one for one in findings if one.check == "system-role"]
    assert not said.red and "the template refuses a system turn (no system); 0 prompts have one" in said.text


def test_a_mark_that_opens_every_turn_may_be_the_models_bos(tmp_path):
    chatml = SOUND.replace("{{ bos_token }}", "").replace("<{{ turn.role }}>", "<bos>{{ turn.role }} ")
    assert red(seen(tmp_path, template=chatml.replace("<assistant>", "<bos>assistant "))) == set()


def test_code_that_a_model_brings_along_is_named(tmp_path):
    findings = seen(tmp_path, config={"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}})
    (code,) = [one for one in findings if one.check == "remote-code"]
    assert "modeling_own.Own" in code.text and "not run" in code.text
    (tmp_path / "other").mkdir()
    (unknown,) = [one for one in seen(tmp_path / "other", **DEFECTS["loads"]) if one.check == "loads"]
    assert (
        unknown.text
        == "the model needs code from its repository, which this project never runs: serve the model at an endpoint, or remove it"
    )


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        ("template", {"template": "{{ messages[0]['content'] + 1 }}"}),
        ("template", {"template": "{{ raise_exception('not today') }}"}),
        ("template", {"template": "{% for %}"}),
        ("loads", {"files": {"config.json": "{oh"}}),
        ("loads", {"files": {"generation_config.json": "[]"}}),
        ("loads", {"files": {"tokenizer.json": "{}"}}),
        ("loads", {"files": {"config.json": '{"auto_map": 3, "model_type": "llama"}'}}),
        ("context", {"files": {"config.json": '{"model_type": "mamba"}'}}),
    ],
)
def test_files_that_make_libraries_stumble_are_a_finding_and_no_crash(tmp_path, check, broken):
    files = broken.pop("files", {})
    told = place(folder(tmp_path / "model", **broken))
    for name, text in files.items():
        (tmp_path / "model" / name).write_text(text)
    from tasks.doctor.examine import examine_model

    assert red(examine_model(told, PROMPTS)) == {check}


PROMPT_OF_AUTHORS = (
    'You are Ape, made by "the Zoo". You are a helpful assistant to every user.\n' + "Answer shortly, say why.  " * 8
).strip()


def test_a_default_system_prompt_is_quoted_and_can_be_accepted(tmp_path):
    template = SOUND.replace("{% for", "{{ system }}{% for", 1).replace("{{ system }}", SYSTEM, 1)
    template = template.replace("<user>You are a helpful assistant.", "<user>system\n" + PROMPT_OF_AUTHORS)
    (found,) = [one for one in seen(tmp_path, template=template) if one.check == "default-system"]
    assert found.red and json.dumps(PROMPT_OF_AUTHORS) in found.text
    line = found.hint.partition("[doctor.accepted]: ")[2]
    accepted = tomllib.loads(f"[doctor.accepted]\n{line}")["doctor"]["accepted"]
    recipe = load_recipe("demo").model_copy(update={"doctor": Doctor(accepted=accepted)})
    assert select_blocking(recipe, [found]) == [] and select_blocking(load_recipe("demo"), [found]) == [found]


CAUSAL = (
    "is no sequence classifier: its config.json names LlamaForCausalLM, which generates text; as a sequence classifier its head"
    " would be untrained"
)
NO_CLASSIFIERS = [None, [], "LlamaForSequenceClassification", [7], ["LlamaModel"], ["GPT2DoubleHeadsModel"]]
NO_CLASSIFIERS += [["LlamaForTokenClassification"], ["MistralForCausalLMEagle"], ["Qwen2ForProcessRewardModel"]]
NEEDED = "a sequence classifier needs a class whose name ends with ForSequenceClassification"


def test_a_folder_that_writes_text_is_no_sequence_classifier(workplace, capsys):
    from flows.cli.main import main
    from tasks.doctor.examine import examine_model

    path = folder(workplace.folder / "model")
    model = f"{{kind='folder', path='{path}'}}"
    jury = f"jury=[{{name='other', model={model}}}]"
    for field, change in (
        ("reward.model", f"reward.model={model}"),
        ("evaluation.judge.model", f"evaluation.judge.model={model}"),
        ("jury.other.model", jury),
    ):
        for command in ("plan", "doctor", "run"):
            assert main([command, "demo", "--set", change]) == 2
            assert f"{field}.path: {str(path)!r} {CAUSAL}" in capsys.readouterr().err
    asked = [one for one, _ in list_examined_models(load_recipe("demo", [jury, f"sources.mirror.model={model}"]))]
    assert {one["name"]: one["classifies"] for one in asked} == {"other": True, "mirror": False}
    told = place(path, answers=False, classifies=True, max_new_tokens=0, scored=512)
    assert red(examine_model(told, PROMPTS)) == {"classifier"}
    for classes in NO_CLASSIFIERS:
        edit(path / "config.json", {"architectures": classes})
        with pytest.raises(BadInput, match=f"reward.model.path: .* is no sequence classifier: .*, but {NEEDED}"):
            load_recipe("demo", [f"reward.model={model}"]).reward.resolve("reward.model")
        if classes not in ("LlamaForSequenceClassification", [7]):  # transformers does not load these
            assert red(examine_model(told, PROMPTS)) == {"classifier"}
    edit(path / "config.json", {"architectures": ["LlamaForSequenceClassification"]})
    assert red(examine_model(told, PROMPTS)) == set()
    assert main(["plan", "demo", "--set", f"reward.model={model}"]) == 0


def test_every_reward_model_is_looked_at_and_has_to_read_what_it_is_given(tmp_path):
    from tasks.doctor.examine import examine_model

    path = folder(tmp_path / "model")
    assert red(examine_model(place(path, answers=False, max_new_tokens=0, scored=512), PROMPTS)) == set()
    assert red(examine_model(place(path, answers=False, max_new_tokens=0, scored=513), PROMPTS)) == {"context"}
    model = f"{{kind='folder', path='{path}'}}"
    jury = f"jury=[{{name='other', model={model}, scoring={{kind='sequence-classifier', max_length=99}}}}]"
    told = {
        one["name"]: one["scored"]
        for one, _ in list_examined_models(load_recipe("demo", [jury, f"reward.model={model}"]))
    }
    assert told == {"reward": 4096, "other": 99}


def test_red_findings_stop_a_run_before_sampling(workplace, capsys):
    from flows.cli.main import main

    (workplace.folder / "prompts.jsonl").write_text('{"prompt": "why?"}\n')
    folder(workplace.folder / "model", generation={"eos_token_id": [2]})
    prompts, model = workplace.folder / "prompts.jsonl", workplace.folder / "model"
    changes = [f"prompts={{kind='file', path='{prompts}'}}", f"sources.mirror.model={{kind='folder', path='{model}'}}"]
    words = ["demo", *(word for change in changes for word in ("--set", change))]
    assert main(["run", *words]) == 2
    assert "mirror.end-tokens: a turn ends with '<end>'" in capsys.readouterr().err
    assert not [*(workplace.folder / "workspace").rglob("per-model-sampling")]
    assert main(["doctor", *words, "--set", "doctor.accepted={end-tokens='ours stops at both'}"]) == 0
    said = capsys.readouterr().out
    assert "accepted: ours stops at both" in said and "sorter" not in said  # what is made here is not looked at


def test_red_findings_stop_a_matrix_and_equal_models_are_checked_once(workplace, capsys, monkeypatch):
    from flows import doctor
    from flows.cli.main import main

    (workplace.folder / "prompts.jsonl").write_text('{"prompt": "why?"}\n')
    model = folder(workplace.folder / "model", generation={"eos_token_id": [2]})
    prompts = f"prompts={{kind='file', path='{workplace.folder / 'prompts.jsonl'}'}}"
    words = ["--set", prompts, "--set", f"sources.mirror.model={{kind='folder', path='{model}'}}"]
    assert main(["ablate", "demo", *words]) == 2
    assert "mirror.end-tokens: a turn ends with '<end>'" in capsys.readouterr().err
    assert not [*(workplace.folder / "workspace").rglob("per-model-sampling")]
    looks = []
    monkeypatch.setattr(doctor, "examine_models", lambda *told: looks.append(told) or [])
    recipes = [load_recipe("demo", [words[1], words[3], f"wrpo.beta={beta}"]) for beta in (0.1, 0.2)]
    doctor.refuse_red_of_any([(recipe, fusion(recipe)) for recipe in recipes], None)
    assert len(looks) == 1


def test_a_package_that_training_would_miss_is_red(workplace, capsys, monkeypatch):
    from flows import doctor
    from flows.cli.main import main

    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    rounded, zero = "lora={rank=2, alpha=4, base='nf4'}", "deepspeed={zero=2}"
    assert main(["run", "demo", "--set", f"wrpo.{rounded}"]) == 2
    assert "wrpo.packages: needs bitsandbytes, which is not installed here" in capsys.readouterr().err
    assert not [*(workplace.folder / "workspace").rglob("MANIFEST.json")]
    seen = lambda *changes: [
        (one.model, one.text.split()[1]) for one in doctor.find_missing_packages(load_recipe("demo", changes))
    ]
    assert seen(f"sft.{rounded}", f"how.wrpo.{zero}") == [("sft", "bitsandbytes,"), ("wrpo", "deepspeed,")]
    assert seen(f"sft.{rounded}", "how.sft.work_pool='gpu-train'") == seen("sft.lora={rank=2, alpha=4}") == []
    monkeypatch.setattr(doctor, "find_spec", lambda name: name)
    assert seen(f"sft.{rounded}", f"how.wrpo.{zero}") == []


def test_a_reason_is_for_one_check_of_one_model_or_of_all(tmp_path):
    recipe, finding = load_recipe("demo"), Finding("mirror", "end-tokens", True, "")
    for key, stops in (("end-tokens", 0), ("mirror.end-tokens", 0), ("roller.end-tokens", 1), ("date", 1)):
        accepting = recipe.model_copy(update={"doctor": Doctor(accepted={key: "a reason"})})
        assert len(select_blocking(accepting, [finding])) == stops
        assert fusion(accepting).fingerprint == fusion(recipe).fingerprint
    with pytest.raises(BadInput, match=r"doctor\.accepted\.date"):
        load_recipe("demo", ["doctor.accepted.date=''"])


def test_more_gpus_than_this_machine_has_are_refused(workplace, capsys, monkeypatch):
    """What a work pool has only its workers know; on cores alone a program that could use GPUs runs without."""
    from flows.cli.main import main

    wide = ["demo", "--set", "how.engines.mirror={kind='vllm', tensor_parallel=16}"]
    assert main(["plan", *wide]) == 0
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", Node(workplace.folder).make()["PATH"])
    capsys.readouterr()
    for command in ("plan", "run"):
        assert main([command, *wide]) == 2
        said = "per-model sampling · mirror.gpus: one program needs 16 GPUs, this machine has 8"
        assert said in capsys.readouterr().err
    assert main(["doctor", *wide]) == 1
    assert not [*(workplace.folder / "workspace").rglob("MANIFEST.json")]
    assert main(["plan", *wide, "--set", "how.engines.mirror.work_pool=gpu-sample"]) == 0
    assert main(["plan", "demo", "--set", "how.engines.mirror={kind='vllm', tensor_parallel=8}"]) == 0
