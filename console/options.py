"""Flags that several commands share, and how they become `Settings`.

Precedence: flags, then TIDEGATE_* variables, then the configuration file, then defaults. A bad
setting is one line that names the setting and where it was set, never its value (it may be secret).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from segmentation.errors import TidegateError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

FLAGS = {
    "definitions": click.option(
        "--definitions", type=click.Path(path_type=Path), metavar="DIR",
        help="Folder of *.sql and schema.yml.  [default: segment_defs]",
    ),
    "kafka": click.option(
        "--kafka", metavar="HOST:PORT", help="Kafka bootstrap servers, comma separated.  [default: localhost:9092]"
    ),
    "database_url": click.option(
        "--database-url", metavar="URL", help="PostgreSQL, postgresql://user@host:port/name. Or TIDEGATE_DATABASE_URL."
    ),
}


def settings_flags(*names: str) -> Callable[[Decorated], Decorated]:
    """--config and the named flags of `FLAGS`; the command gets them as keyword arguments."""

    def decorate(command: Decorated) -> Decorated:
        for name in reversed(names):
            command = FLAGS[name](command)
        return click.option(
            "--config", type=click.Path(path_type=Path, dir_okay=False), envvar="TIDEGATE_CONFIG", metavar="FILE",
            help="Settings as YAML.  [default: tidegate.yml, if there]",
        )(command)

    return decorate


json_flag = click.option("--json", "as_json", is_flag=True, help="JSON for programs instead of a table.")


def load_settings(config: Path | None, **flags: Any) -> Any:
    """`storage.settings.Settings`; typed Any here so that `--help` need not import pydantic."""
    import yaml
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from storage.settings import CONFIG_FILE, Settings

    if config is not None and not config.is_file():
        raise TidegateError(f"--config {config}: no such file. Write one with `tidegate init`, or leave the flag out.")
    file = config or CONFIG_FILE
    model = type("Settings", (Settings,), {"model_config": {**Settings.model_config, "yaml_file": file},
                                           "__module__": Settings.__module__}) if config else Settings
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return model(**given)
    except ValidationError as error:
        raise TidegateError("; ".join(_problem(dict(one), given, file) for one in error.errors())) from None
    except SettingsError as error:
        name = str(error).split('"')[1] if '"' in str(error) else ""
        raise TidegateError(
            f"setting {name!r}{_origin(name, given, file)}: this is not the JSON that the setting needs."
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
        raise TidegateError(f"{place}: not valid YAML: {getattr(error, 'problem', None) or 'unreadable'}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TidegateError(f"{file}: cannot be read: {error}") from None
    except (TypeError, ValueError):
        raise TidegateError(f"{file}: must be a mapping of settings, like `kafka: localhost:9092`.") from None


def _problem(error: dict[str, Any], given: dict[str, Any], file: Path) -> str:
    # Only the setting's name: further parts of the place may be keys that are secrets (tokens).
    name = str(error["loc"][0]) if error["loc"] else "?"
    message = str(error["msg"])
    if error["type"] == "extra_forbidden":
        import difflib

        from storage.settings import Settings

        near = difflib.get_close_matches(name, Settings.model_fields, n=1)
        message = "there is no such setting." + (f" Did you mean {near[0]!r}?" if near else "")
    return f"setting {name!r}{_origin(name, given, file)}: {message}"


def _origin(name: str, given: dict[str, Any], file: Path) -> str:
    if name in given:
        return f" (flag --{name.replace('_', '-')})"
    variable = f"TIDEGATE_{name}".upper()
    if any(key.upper() == variable for key in os.environ):
        return f" (variable {variable})"
    return f" (file {file})"
