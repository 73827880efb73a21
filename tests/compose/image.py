"""The Dockerfile carried out in a `Root`: RUN, COPY, ENV and the rest as written, on this machine's userland.

Both stages share one root, since they have the same Python and C library; `COPY --from=build` then
finds its files in place.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.architecture.source import ROOT
from tests.compose.container import PATH, Root


@dataclass
class Image:
    """What the last stage leaves for a process that is started from it."""

    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    workdir: str = "/"
    user: tuple[int, int] | None = None
    entrypoint: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(self.__dict__))

    @staticmethod
    def load(file: Path) -> "Image":
        saved = json.loads(file.read_text())
        return Image(**{**saved, "user": tuple(saved["user"]) if saved["user"] else None})


def instructions() -> list[tuple[str, str]]:
    """(instruction, rest) of the Dockerfile, continuation lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M).replace("\\\n", "")
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in text.splitlines() if line.strip()]


def build(root: Root) -> Image:
    image = Image()
    for instruction, rest in instructions():
        if instruction == "FROM":
            image = Image()
        elif instruction == "ENV":
            for word in shlex.split(rest):
                name, _, value = word.partition("=")
                image.environment[name] = value.replace(f"${name}", image.environment.get(name, ""))
        elif instruction == "WORKDIR":
            image.workdir = rest
            root.inside(rest).mkdir(parents=True, exist_ok=True)
        elif instruction == "RUN":
            # pip's own variables say how this machine reaches its package index.
            surroundings = {name: value for name, value in os.environ.items() if re.match("PIP_|SSL_|.*_proxy", name)}
            subprocess.run(
                root.command(["/bin/sh", "-c", rest], cwd=image.workdir),
                env={**surroundings, **image.environment, "HOME": "/root"}, check=True,
            )  # fmt: skip
        elif instruction == "COPY":
            _copy(root, image, rest)
        elif instruction == "USER":
            uid, _, gid = rest.partition(":")
            image.user = int(uid), int(gid)
        elif instruction == "ENTRYPOINT":
            image.entrypoint = json.loads(rest)
        elif instruction == "VOLUME":
            image.volumes.append(rest)
        elif instruction not in ("CMD", "STOPSIGNAL"):
            raise AssertionError(f"{instruction}: teach tests/compose/image.py what this does")
    return image


def _copy(root: Root, image: Image, rest: str) -> None:
    *sources, target = rest.split()
    if sources[0].startswith("--from"):
        assert sources[1] == target, "stages share one root here: copy to the same place"
        return
    for source in sources:
        to = root.inside(Path(image.workdir, target))
        if (ROOT / source).is_dir():
            shutil.copytree(
                ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "*.so"), dirs_exist_ok=True
            )
        else:
            shutil.copy(ROOT / source, to / Path(source).name if target.endswith("/") else to)
