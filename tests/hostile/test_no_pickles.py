"""Read from the code itself: nothing unpickles, and no library may ask whoever sits at the terminal to run a model's code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(file for room in ("flows", "tasks", "infra") for file in (ROOT / room).rglob("*.py"))
UNPICKLING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
LOADING = {  # what loads a pickle unless it is told otherwise, and what it must be told
    "torch.load": "never: weights are safetensors",
    "pd.read_pickle": "never",
    "pickle.load": "never",
    "yaml.unsafe_load": "never",
}
CONFIGURED = ("AutoConfig", "AutoTokenizer", "AutoProcessor", "kind")


def calls(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


def offences(text: str) -> list[str]:
    tree, found = ast.parse(text), []
    for node in ast.walk(tree):
        named = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [name for name in named if name.split(".")[0] in UNPICKLING]
    for name, words in calls(tree):
        if name in LOADING or words.get("allow_pickle") == "True" or words.get("shell") == "True":
            found.append(name)
        foreign = name.endswith(".from_pretrained") and name.split(".")[0] in CONFIGURED
        if foreign and words.get("trust_remote_code") != "False" and words.get(None) != "LOCAL":
            found.append(name)
        if words.get("trust_remote_code") == "True":
            found.append(name)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_nothing_unpickles_or_runs_a_models_code(file):
    assert offences(file.read_text()) == []


OFFENCES = [
    "import pickle",
    "from joblib import load",
    "torch.load(path, weights_only=True)",
    "np.load(path, allow_pickle=True)",
    "AutoConfig.from_pretrained(folder)",
    "AutoTokenizer.from_pretrained(folder, trust_remote_code=chosen)",
    "kind.from_pretrained(folder, trust_remote_code=True, **LOCAL)",
    "subprocess.run(text, shell=True)",
]


@pytest.mark.parametrize("line", OFFENCES)
def test_an_offence_is_seen(line):
    assert offences(line)
