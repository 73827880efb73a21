"""The example workflow is YAML of the right shape, and every command and flag in it exists."""

import re
import shlex
from typing import Any

import click
import pytest
import yaml

from console.main import cli
from tests.architecture.source import ROOT

FILE = ROOT / "docs" / "examples" / "definitions.yml"
WORKFLOW: dict[Any, Any] = yaml.safe_load(FILE.read_text())
SCRIPTS = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
CALLS = re.findall(r"^\s*tidegate (.*?)(?:\s*(?:>>?|\|\|).*)?$", "\n".join(SCRIPTS), flags=re.M)


def test_it_is_a_workflow() -> None:
    assert WORKFLOW[True]["pull_request"]["paths"] == ["segment_defs/**"]  # YAML takes `on` for a truth value
    for job in WORKFLOW["jobs"].values():
        assert job["runs-on"] and job["steps"] and job["timeout-minutes"]
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])
    assert WORKFLOW["jobs"]["plan"]["needs"] in WORKFLOW["jobs"]
    assert "head.repo.full_name == github.repository" in WORKFLOW["jobs"]["plan"]["if"], "no fork gets at the database"


def test_it_validates_tests_and_plans() -> None:
    assert [call.split()[0] for call in CALLS] == ["validate", "validate", "test", "plan"]


@pytest.mark.parametrize("call", CALLS)
def test_commands_and_flags_exist(call: str) -> None:
    name, *arguments = shlex.split(call)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    command.make_context(name, arguments)  # raises UsageError for a flag that is not there


def test_no_value_of_a_pull_request_gets_into_a_script() -> None:
    assert not any("${{" in script for script in SCRIPTS)
