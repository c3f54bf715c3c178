"""Rewrites tests so that every assertion is counted, and finds assertions that were skipped because of the response's values.

A *site* is an assert, a call of a test function that asserts, a call such as `numpy.testing.assert_allclose(…)`, or an `all(…)`
over values of the response. A *block* is a body of statements. A skipped site is excused if the tests alone decided to skip it,
or if a right answer may skip it too.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Block:
    """`construct` is the number of the block's if, loop or try; `theirs`: values of the response decide whether it runs."""

    number: int
    kind: str  # function | loop | branch | try | handler | unless raised | else
    construct: int
    theirs: bool


@dataclass(frozen=True)
class Site:
    line: int
    blocks: tuple[Block, ...]
    is_all: bool = False  # an `all(…)`: it matters only if it was evaluated, over no values


class Trace:
    """The numbers of the sites and blocks that ran, as the rewritten tests report them."""

    def __init__(self):
        self.ran: set[int] = set()

    def mark(self, number: int) -> None:
        self.ran.add(number)

    def watch(self, number: int, values: Iterable) -> Iterator:
        for value in values:
            self.ran.add(number)
            yield value


class Rewriter(ast.NodeTransformer):
    """`names` are the names that the response defines. The rewritten tests call `_mark`, `_watch`, `_held`, `_broke`, `_alone`,
    `_caught` and `_zip`, which the examiner defines."""

    def __init__(self, tests: ast.Module, names: set[str]):
        self.theirs = find_names_of_response(tests, names)
        self.asserting = {node.name for node in ast.walk(tests) if isinstance(node, FUNCTIONS) and has_assert(node)}
        self.sites: dict[int, Site] = {}
        self.stack: list[Block] = []
        self.branches: dict[int, list[Block]] = defaultdict(list)  # the blocks of each construct
        self.with_asserts: set[int] = set()  # the numbers of blocks
        self.last = 0
        self.tests = ast.fix_missing_locations(self.visit(tests))

    def find_skipped(self, trace: Trace) -> list[Site]:
        never = (site for number, site in self.sites.items() if number not in trace.ran)
        return [site for site in never if not self.is_excused(site, trace)]

    def is_excused(self, site: Site, trace: Trace) -> bool:
        skipped = next((block for block in site.blocks if block.number not in trace.ran), None)
        if skipped is None:  # its block ended before the site, for example by an exception
            tries = [block.construct for block in site.blocks if block.kind == "try"]
            return any(self.ran_instead(construct, "handler", trace) for construct in tries)
        if site.is_all:
            return True
        if skipped.kind == "unless raised":
            return self.ran_instead(skipped.construct, "handler", trace)
        if skipped.kind in ("function", "handler", "else") or not skipped.theirs:
            return True
        return self.ran_instead(skipped.construct, "branch", trace)

    def ran_instead(self, construct: int, kind: str, trace: Trace) -> bool:
        """True if another block of the construct ran and contains an assertion."""
        others = (block.number for block in self.branches[construct] if block.kind == kind)
        return any(number in trace.ran and number in self.with_asserts for number in others)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.body = self.rewrite_block(node.body, "function", self.count())
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_For(self, node: ast.For | ast.AsyncFor) -> ast.AST:
        return self.rewrite_loop(node, "iter")

    visit_AsyncFor = visit_For

    def visit_While(self, node: ast.While) -> ast.AST:
        return self.rewrite_loop(node, "test")

    def rewrite_loop(self, node: ast.For | ast.AsyncFor | ast.While, head: str) -> ast.AST:
        theirs, construct = self.depends(getattr(node, head)), self.count()
        setattr(node, head, self.visit(getattr(node, head)))
        node.body = self.rewrite_block(node.body, "loop", construct, theirs)
        node.orelse = self.rewrite_block(node.orelse, "else", construct)
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        theirs, construct = self.depends(node.test), self.count()
        node.test = self.visit(node.test)
        node.body = self.rewrite_block(node.body, "branch", construct, theirs)
        node.orelse = self.rewrite_block(node.orelse, "branch", construct, theirs)
        return node

    def visit_Match(self, node: ast.Match) -> ast.AST:
        theirs, construct = self.depends(node.subject), self.count()
        for case in node.cases:
            case.body = self.rewrite_block(case.body, "branch", construct, theirs)
        return node

    def visit_Try(self, node: ast.Try | ast.TryStar) -> ast.AST:
        construct = self.count()
        node.body = self.rewrite_block(node.body, "try", construct)
        for handler in node.handlers:
            handler.body = self.rewrite_block(handler.body, "handler", construct)
            if handler.type and self.depends(handler.type):
                handler.type = ast.Call(ast.Name("_caught", ast.Load()), [handler.type], [])
        node.orelse = self.rewrite_block(node.orelse, "unless raised", construct)
        node.finalbody = self.rewrite_block(node.finalbody, "try", construct)
        return node

    visit_TryStar = visit_Try

    def visit_Expr(self, node: ast.Expr) -> ast.AST | list[ast.AST]:
        self.generic_visit(node)
        match node.value:
            case ast.Call(ast.Name(name)) if name in self.asserting:
                return [call("_mark", self.add_site(node)), node]
            case ast.Call(ast.Attribute(attr=name)) if name.startswith("assert_"):
                return self.count_assertion(node, [node, make_call("_held", ast.Constant(True))])
            case ast.Call() as called:
                expect_nothing(called)
        return node

    def visit_Assert(self, node: ast.Assert) -> list[ast.AST]:
        """Replaces an assert by calls that record whether it holds, fails or raises. The tests continue after it."""
        constant = isinstance(node.test, ast.Constant)  # a right answer does not reach an `assert False`
        self.generic_visit(node)
        match node.test:
            case ast.Compare(ast.Call() as called, [ast.Is() | ast.Eq()], [ast.Constant(None)]):
                expect_nothing(called)
        return self.count_assertion(node, [make_call("_held", node.test)], is_site=not constant)

    def count_assertion(self, node: ast.stmt, body: list[ast.stmt], is_site: bool = True) -> list[ast.AST]:
        self.with_asserts.update(block.number for block in self.stack)
        marks = [call("_mark", self.add_site(node))] if is_site else []
        broke = make_call("_broke", ast.Name("_problem", ast.Load()))
        handler = ast.ExceptHandler(ast.Name("Exception", ast.Load()), "_problem", [broke])
        return [ast.copy_location(one, node) for one in (*marks, ast.Try(body, [handler], [], []))]

    def visit_Call(self, node: ast.Call) -> ast.Call:
        """Rewrites `all` and `zip` over values of the response. If these are empty or too short, `all` would be true and `zip`
        would stop early, without an assertion."""
        match node:
            case ast.Call(ast.Name("all"), [ast.GeneratorExp(_, [first, *_]) | ast.ListComp(_, [first, *_])]):
                if self.depends(first.iter):
                    first.iter = call("_watch", self.add_site(node, is_all=True), first.iter).value
            case ast.Call(ast.Name("zip"), [_, _, *_] as given) if not any(
                isinstance(one, ast.Starred) for one in given
            ):
                theirs = tuple(self.depends(one) for one in given)
                if any(theirs) and not all(theirs):
                    constant = ast.Constant(theirs)  # pyright: ignore[reportArgumentType]
                    node.func, node.args = ast.Name("_zip", ast.Load()), [constant, *given]
        self.generic_visit(node)
        return node

    def rewrite_block(self, body: list, kind: str, construct: int, theirs: bool = False) -> list:
        if not body:
            return body
        block = Block(self.count(), kind, construct, theirs)
        self.branches[construct].append(block)
        self.stack.append(block)
        found = [self.visit(statement) for statement in body]
        self.stack.pop()
        flat = [one for each in found for one in (each if isinstance(each, list) else [each])]
        return [ast.copy_location(call("_mark", block.number), body[0]), *flat]

    def add_site(self, node: ast.stmt | ast.expr, is_all: bool = False) -> int:
        number = self.count()
        self.sites[number] = Site(node.lineno, tuple(self.stack), is_all)
        return number

    def count(self) -> int:
        self.last += 1
        return self.last

    def depends(self, node: ast.AST) -> bool:
        return bool(find_names(node) & self.theirs)


def call(name: str, number: int, *rest: ast.expr) -> ast.Expr:
    return ast.Expr(ast.Call(ast.Name(name, ast.Load()), [ast.Constant(number), *rest], []))


def make_call(name: str, argument: ast.expr) -> ast.Expr:
    return ast.Expr(ast.Call(ast.Name(name, ast.Load()), [argument], []))


def expect_nothing(called: ast.Call) -> None:
    """Marks a call whose result the tests do not use: it may change its arguments in place."""
    called.func = ast.Call(ast.Name("_alone", ast.Load()), [called.func], [])


def has_assert(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Assert) or is_assert_call(one) for one in ast.walk(node))


def is_assert_call(node: ast.AST) -> bool:
    """True for a call such as `numpy.testing.assert_allclose(…)`."""
    match node:
        case ast.Call(ast.Attribute(attr=name)):
            return name.startswith("assert_")
    return False


def find_names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def find_names_of_response(tests: ast.Module, names: set[str]) -> set[str]:
    """Names that may hold values of the response: its own names, all parameters, and variables computed from them."""
    found, made = set(names), []
    for node in ast.walk(tests):
        match node:
            case ast.arguments():
                found |= {one.arg for one in (*node.posonlyargs, *node.args, *node.kwonlyargs)}
            case ast.Assign(targets, value):
                made.append((set().union(*map(find_names, targets)), find_names(value)))
            case ast.AugAssign(target, _, value) | ast.NamedExpr(target, value) | ast.For(target, value):
                made.append((find_names(target), find_names(value)))
            case ast.comprehension(target, value):
                made.append((find_names(target), find_names(value)))
    size = -1  # repeat until no new name is found: an assignment may use a name found later
    while size < len(found):
        size = len(found)
        found.update(*(targets for targets, value in made if value & found))
    return found
