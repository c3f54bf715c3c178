"""Makes tests for coding prompts, from worked examples in a problem or from asserts in the prompt or the response.

If reliable tests cannot be made, it gives the reason instead: wrong tests are worse than no tests.
"""

import ast
import html
import json
import re
from collections import Counter
from typing import Any

FENCE = re.compile(
    r"^[ \t]*(?:```|~~~)[ \t]*(?:python3?|py)?[ \t]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.DOTALL | re.MULTILINE
)
EXAMPLE = re.compile(
    r"^\s*Input\s*:\s*(.+?)\s*^\s*Output\s*:\s*(.+?)\s*(?=^\s*(?:Explanation|Example|Constraints|Note|Follow|Input)\b|\n\s*\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
ARGUMENT = re.compile(r"(?:^|,)\s*([A-Za-z_]\w*)\s*=\s*")
SEVERAL = re.compile(
    r"any order|any valid|any of them|any one of|multiple (?:valid |possible )?(?:answers|solutions)|in[- ]place", re.I
)
NODES = re.compile(r"\b(?:ListNode|TreeNode|Node|NestedInteger)\b")
CHANGING = {
    "random",
    "time",
    "open",
    "input",
    "requests",
    "urllib",
    "socket",
    "now",
    "today",
    "uuid",
    "os",
    "subprocess",
}


def mine_examples(statement: str, solution: str | None) -> str:
    """A gold from a problem's worked examples; the data set's solution shows how to call the function."""
    if not solution:
        raise ValueError("there is no solution that names the function")
    text = read_markup(statement)
    if SEVERAL.search(text):
        raise ValueError("several answers are correct, or the function changes an argument")
    code = find_code(solution)
    if NODES.search(code):
        raise ValueError("the function takes nodes of a list or a tree")
    examples = [(split_arguments(given), wanted) for given, wanted in EXAMPLE.findall(text)]
    if not examples:
        raise ValueError("there is no example with an Input and an Output")
    name, parameters = find_function(parse(code), list(examples[0][0]))
    lines = []
    for given, wanted in examples:
        if list(given) != parameters:
            raise ValueError(
                f"the examples have the arguments {', '.join(given)}, but the solution takes {', '.join(parameters)}"
            )
        lines.append(write_assert(name, [read_value(one) for one in given.values()], read_value(wanted)))
    return write_gold(lines, name, code)


def read_markup(text: str) -> str:
    """The plain text of HTML or Markdown: `**Input:** nums = \\[1\\]` becomes `Input: nums = [1]`."""
    text = html.unescape(re.sub(r"</?[a-z][^<>]*>", "", text, flags=re.IGNORECASE)).replace("\xa0", " ")
    return re.sub(r"\\([\\`*_{}\[\]()#+.!<>-])", r"\1", text.replace("**", ""))


def split_arguments(given: str) -> dict[str, str]:
    _, *parts = ARGUMENT.split(" ".join(given.split()))
    return dict(zip(parts[::2], parts[1::2], strict=True))


def read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"not a plain value: {text!r:.60}") from None


def find_function(module: ast.Module, names: list[str]) -> tuple[str, list[str]]:
    """The function or method of the solution whose arguments have these names."""
    bodies = [module.body, *(node.body for node in module.body if isinstance(node, ast.ClassDef))]
    for node in (one for body in bodies for one in body if isinstance(one, ast.FunctionDef)):
        parameters = [one.arg for one in node.args.args if one.arg != "self"]
        if parameters == names:
            return node.name, parameters
    raise ValueError(f"the solution has no function that takes {', '.join(names) or 'these arguments'}")


def write_assert(name: str, arguments: list, wanted: Any) -> str:
    call = f"{name}({', '.join(map(repr, arguments))})"
    return f"assert abs({call} - {wanted!r}) < 1e-5" if isinstance(wanted, float) else f"assert {call} == {wanted!r}"


def mine_asserts(instruction: str, answer: str | None) -> str:
    """A gold from asserts in the instruction or in the data set's response, about one function that the response defines."""
    if not answer:
        raise ValueError("there is no response that defines the function")
    in_response, in_prompt = find_statements(answer), find_statements(instruction)
    defined = {node.name for node in in_response if isinstance(node, ast.FunctionDef)}
    asserts = [
        node for node in (*in_prompt, *in_response) if isinstance(node, ast.Assert) and not find_names(node) & CHANGING
    ]
    called = Counter(name for node in asserts for name in find_names(node) & defined)
    if not called:
        raise ValueError("there is no assert of a function that the response defines")
    name = called.most_common(1)[0][0]
    kept = [node for node in asserts if find_names(node) & defined == {name}]
    imports = [
        ast.unparse(node) for node in (*in_prompt, *in_response) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    solution = [ast.unparse(node) for node in in_response if not isinstance(node, ast.Assert)]
    tests = dict.fromkeys([*imports, *map(ast.unparse, kept)])
    return write_gold(list(tests), name, "\n".join(solution))


def find_statements(text: str) -> list[ast.stmt]:
    """The statements of all fenced Python blocks; without such blocks, of the lines that are asserts."""
    blocks = FENCE.findall(text) or [
        "\n".join(line.strip() for line in text.splitlines() if line.strip().startswith("assert "))
    ]
    found = []
    for block in blocks:
        try:
            found += parse(block).body
        except ValueError:
            continue
    return found


def find_names(node: ast.AST) -> set[str]:
    parts = list(ast.walk(node))
    return {one.id for one in parts if isinstance(one, ast.Name)} | {
        one.attr for one in parts if isinstance(one, ast.Attribute)
    }


def find_code(text: str) -> str:
    blocks = FENCE.findall(text)
    return "\n".join(blocks) if blocks else text


def parse(code: str) -> ast.Module:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        raise ValueError(f"not Python: {problem!s:.80}") from None


def write_gold(tests: list[str], name: str, solution: str) -> str:
    """The gold as JSON. `solution`: the check of responses runs it first, and ignores tests that it does not pass."""
    return json.dumps({"tests": tests, "entry_point": name, "solution": solution}, ensure_ascii=False)
