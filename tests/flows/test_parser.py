"""The commands of `fuse` are named by text: each must lead to a function."""

import argparse
from importlib import import_module

import pytest

from flows.cli.parser import make_parser


def commands() -> dict[str, str]:
    (choices,) = [action.choices for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: parser.get_default("command") for name, parser in choices.items()}


@pytest.mark.parametrize(("command", "place"), commands().items())
def test_a_command_leads_to_a_function(command, place):
    module, _, function = place.partition(":")
    assert callable(getattr(import_module(f"flows.cli.{module}"), function)), command
