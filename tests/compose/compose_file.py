"""docker-compose.yml read as Docker Compose reads it: variables filled in, anchors merged."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.architecture.source import ROOT

COMPOSE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:-|:\?)([^}]*))?\})")


class Refused(Exception):
    """A variable that must be set is not."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """The forms that the file may use: ${A}, ${A:-default}, ${A:?message}, and $$ for a dollar sign."""

    def value(match: re.Match[str]) -> str:
        dollar, name, form, rest = match.groups()
        if dollar:
            return "$"
        given = variables.get(name, "")
        if not given and form == ":?":
            raise Refused(f"{name}: {rest}")
        return given or (rest if form == ":-" else "")

    return _VARIABLE.sub(value, text)


@dataclass(frozen=True)
class Service:
    """One service, as much as is needed to run it elsewhere."""

    name: str
    image: str
    ours: bool
    command: list[str]
    environment: dict[str, str]
    health: list[str]
    needs: dict[str, str]
    volumes: list[str]
    ports: list[str]
    raw: dict[str, Any]

    def mounts(self) -> dict[str, Path]:
        """Path in the container -> path in this repository, of the files and folders that are mounted."""
        return {
            volume.split(":")[1]: ROOT / volume.split(":")[0] for volume in self.volumes if volume.startswith("./")
        }


def document(variables: Mapping[str, str]) -> dict[str, Any]:
    """The whole file as plain data. Only values are interpolated, so a comment may speak of variables."""
    filled = _interpolated(yaml.safe_load(COMPOSE.read_text()), variables)
    assert isinstance(filled, dict)
    return filled


def load(variables: Mapping[str, str]) -> dict[str, Service]:
    return {name: _service(name, raw) for name, raw in document(variables)["services"].items()}


def _interpolated(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _interpolated(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolated(value, variables) for value in node]
    return interpolate(node, variables) if isinstance(node, str) else node


def _service(name: str, raw: dict[str, Any]) -> Service:
    health = raw.get("healthcheck", {}).get("test", [])
    assert not health or health[0] == "CMD", f"{name}: write health checks as a list, without a shell"
    return Service(
        name=name,
        image=raw["image"],
        ours="build" in raw,
        command=[str(word) for word in raw.get("command", [])],
        environment={key: str(value) for key, value in raw.get("environment", {}).items()},
        health=[str(word) for word in health[1:]],
        needs={other: how["condition"] for other, how in raw.get("depends_on", {}).items()},
        volumes=raw.get("volumes", []),
        ports=raw.get("ports", []),
        raw=raw,
    )
