"""The stack with Prefect's history in PostgreSQL. Skipped where no server is installed (Debian: apt-get install postgresql)."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.seaweed import free_ports
from infra.services import find_marked
from tests.e2e.home import Home

pytestmark = pytest.mark.e2e
FOUND = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
AS_OTHER = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # PostgreSQL refuses to run as root


@pytest.fixture
def password() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def database(password) -> Iterator[str]:
    """A server of the test's own, on loopback."""
    if FOUND is None:
        pytest.skip("no PostgreSQL server here")
    (port,) = free_ports(1)
    folder = Path(tempfile.mkdtemp())
    (folder / "password").write_text(password)
    if AS_OTHER:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")
    run = lambda name, *words: subprocess.run(
        [*AS_OTHER, str(Path(FOUND).with_name(name)), *words], check=True, cwd="/"
    )
    data, options = str(folder / "data"), f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
    try:
        run("initdb", "-D", data, "-A", "scram-sha-256", "-U", "fuse", f"--pwfile={folder / 'password'}")
        run("pg_ctl", "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
        yield f"postgresql+asyncpg://fuse:{password}@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_the_stack_keeps_history_in_postgresql_without_password(tmp_path, database, password):
    ui, s3 = free_ports(2)
    chosen = {"FUSE_WORKSPACE": str(tmp_path), "FUSE_UI_PORT": str(ui), "FUSE_S3_PORT": str(s3)}
    home = Home(tmp_path, chosen | {"FUSE_DATABASE": database})
    wrong = Home(tmp_path, chosen | {"FUSE_DATABASE": database.replace(password, "wrong")})
    try:
        answer = wrong.fuse("up")
        assert answer.returncode == 2 and "password authentication failed" in answer.stderr
        answer = home.fuse("up")
        assert answer.returncode == 0, answer.stderr
        assert home.finish(home.start("housekeeping/housekeeping")) == ["Completed"], home.story()
    finally:
        assert home.fuse("down").returncode == 0 and find_marked(home.folder) == []
    assert not list(tmp_path.rglob("prefect.db"))
    assert [file for file in tmp_path.rglob("*") if file.is_file() and password.encode() in file.read_bytes()] == []
