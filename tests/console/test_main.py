"""The overview, the exit codes, and one clear line for whatever is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from console.main import COMMANDS, cli
from tests.console.run_command import tidegate

HEAVY = ("numpy", "psycopg", "confluent_kafka", "grpc", "pydantic", "rich", "pyarrow", "sqlglot", "bytewax")


def test_overview_imports_nothing_heavy() -> None:
    script = (
        "import sys; from click.testing import CliRunner; from console.main import cli;"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0;"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_overview_names_every_command() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).output
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches_by_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output and f"tidegate {name}" in result.output


def test_there_is_a_file_for_every_command_and_none_more() -> None:
    files = {path.stem.replace("_", "-") for path in (Path(__file__).parents[2] / "console/commands").glob("*.py")}
    assert files - {"--init--"} == set(COMMANDS)


def test_unknown_command_suggests_the_near_one() -> None:
    done = tidegate("statsu")
    assert done.code == 2
    assert "Did you mean 'status'?" in done.err


@pytest.mark.parametrize(
    ("env", "config", "expected"),
    [
        ({"TIDEGATE_SHARDS": "many"}, None, "setting 'shards' (variable TIDEGATE_SHARDS): "),
        ({"TIDEGATE_KAFKA_OPTIONS": "{"}, None, "setting 'kafka_options' (variable TIDEGATE_KAFKA_OPTIONS): "),
        ({}, "shard: 3\n", "setting 'shard' (file t.yml): there is no such setting. Did you mean 'shards'?"),
        ({}, "shards: 0\n", "setting 'shards' (file t.yml): "),
        ({}, "clock: sundial\n", "setting 'clock' (file t.yml): "),
        ({}, "shards: [\n", "t.yml:2:1: not valid YAML: "),
        ({}, "just words\n", "t.yml: must be a mapping of settings"),
        ({}, None, "t.yml: no such file."),
    ],
)
def test_bad_settings_are_one_line_that_names_the_setting(
    tmp_path: Path, env: dict[str, str], config: str | None, expected: str
) -> None:
    arguments = ["check", "u", "s"]
    if config is not None:
        (tmp_path / "t.yml").write_text(config)
    if not env:
        arguments += ["--config", "t.yml"]
    done = tidegate(*arguments, cwd=tmp_path, env=env)
    assert done.code == 2
    assert expected in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_bad_settings_do_not_show_secrets(tmp_path: Path) -> None:
    done = tidegate("check", "u", "s", cwd=tmp_path, env={"TIDEGATE_GRPC_TOKENS": '{"s3cret": "owner"}'})
    assert done.code == 2
    assert "grpc_tokens" in done.err and "s3cret" not in done.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["check", "u1", "vip", "--server", "127.0.0.1:1"], "no gRPC server answers at 127.0.0.1:1"),
        (["members", "vip", "--server", "127.0.0.1:1"], "no gRPC server answers at 127.0.0.1:1"),
        (["status", "--database-url", "postgresql://a:s3cret@127.0.0.1:1/b"], "database b at 127.0.0.1:1"),
        (["migrate", "--database-url", "postgresql://a:s3cret@127.0.0.1:1/b"], "database b at 127.0.0.1:1"),
        (["dead-letter", "list", "--database-url", "postgresql://a:s3cret@127.0.0.1:1/b"], "b at 127.0.0.1:1"),
        (["send", "{}", "--timeout", "0.2", "--kafka", "127.0.0.1:1"], "Kafka at 127.0.0.1:1"),
        (["send"], "give the JSON, or --file"),
        (["send", "[1]", "--now"], "--now needs a JSON object"),
        (["run", "--at", "2026-01-01T00:00:00Z"], "--at needs --until-end"),
        (["run", "--at", "2026-01-01", "--until-end"], "has no zone"),
        (["run", "-i", "0"], "needs both -i and -a"),
        (["run", "-i", "2", "-a", "h:1;h:2"], "processes 0 to 1"),
        (["dead-letter", "list", "--reason", "boredom"], "not_json"),
        (["evaluate", "--definitions", "nowhere", "--events", "x.csv"], "nowhere: no such folder"),
        (["validate", "nowhere"], "nowhere: no such folder"),
        (["demo", "--definitions", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_what_is_wrong_is_said_without_secrets(tmp_path: Path, arguments: list[str], expected: str) -> None:
    done = tidegate(*arguments, cwd=tmp_path)
    assert done.code == 2
    assert expected in done.err
    assert "s3cret" not in done.err
