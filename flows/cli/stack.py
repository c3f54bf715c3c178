"""`fuse up` and `fuse down`: the stack on this machine. `fuse deploy`: registers the deployments on a Prefect server."""

import argparse

from infra.errors import BadInput
from infra.settings import api_given


def start_stack(_: argparse.Namespace) -> None:
    from flows.deploy.stack import up

    print("starting object store, Prefect, deployments and workers (a minute or two)", flush=True)
    state = up()
    print(f"Prefect's UI: {state['ui']}\nartifacts: {state['store']}")
    print(f"to use the stack in a shell: source {state['environment']}\nto stop it: fuse down")


def stop_stack(_: argparse.Namespace) -> None:
    from flows.deploy.stack import down

    print("everything has stopped; artifacts and history are kept" if down() else "nothing was running")


def deploy(_: argparse.Namespace) -> None:
    from flows.deploy.register import register

    if not api_given():
        raise BadInput("PREFECT_API_URL: is not set; it names the Prefect server that gets the deployments")
    register()
    print("work pools, deployments and automations are registered")
