"""`fuse up`, `down`, `deploy`: the stack on this machine, and what stands on a Prefect server."""

import argparse


def add(commands) -> None:
    for name, command, text in (
        ("up", up, "start the whole stack on this machine: Prefect, an S3 server, a worker per pool, the deployments"),
        ("down", down, "end the stack; artifacts and history stay"),
        ("deploy", deploy, "register work pools, deployments and automations on the server of PREFECT_API_URL"),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(command=command)


def up(_: argparse.Namespace) -> None:
    from flows.deploy.stack import up

    print("starting what does not run yet: object store, Prefect, deployments, workers (a minute or two)", flush=True)
    state = up()
    print(f"Prefect's UI: {state['ui']}\nartifacts: {state['store']}")
    print(f"to use it in a shell: source {state['environment']}\nto end it: fuse down")


def down(_: argparse.Namespace) -> None:
    from flows.deploy.stack import down

    print("everything has ended; artifacts and history stay" if down() else "nothing ran")


def deploy(_: argparse.Namespace) -> None:
    from flows.deploy.register import register
    from infra.errors import BadInput
    from infra.settings import api_given

    if not api_given():
        raise BadInput("PREFECT_API_URL: is not set; it says on which Prefect server the deployments are to be")
    register()
    print("work pools, deployments and automations are registered")
