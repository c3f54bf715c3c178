"""One source that fails for good stops neither the other sources nor their scores; what is finished is found again."""

from aiohttp import web

from tests.chain.small import fuse, states, write_recipe
from tests.responses.stub import Stub, serving


def test_steps_beside_a_failed_source_are_made_and_the_run_fails(tmp_path):
    recipe, workspace = write_recipe(tmp_path, sources=2), tmp_path / "workspace"
    with serving(Stub(manner=lambda body, before: web.Response(status=401, text="who are you"))) as stub:
        engine = f"how.engines.source-1={{kind='endpoint', urls=['{stub.url}'], model='m'}}"
        ended = fuse(workspace, "run", str(recipe), "--set", engine)
        assert ended.returncode == 1 and "source-1" in ended.stderr, ended.stdout + ended.stderr
        assert (
            "the server does not accept the key (401)" in ended.stderr and 0 < len(stub.asked) <= 2 * 64
        )  # sampling and evaluation
    plan = states(fuse(workspace, "plan", str(recipe)).stdout)
    assert plan["per-model sampling · source-2"] == plan["reward annotation · source-2"] == "found"
    assert plan["per-model sampling · source-1"] == plan["SFT"] == "to do"
