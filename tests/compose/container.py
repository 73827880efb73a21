"""Containers without a container engine: a root folder, a mount namespace for each process.

What a container would have and a process here gets: a root of its own with the image's files at
their places, read-only where the compose file says so, its volumes, its user without any
capability, and only its own environment. What it does not get: another distribution's userland
(/usr is this machine's) and a network of its own (all share one, in which each name is 127.0.0.1).

Linux only, as root: mounts are made in a namespace that the caller has entered with
`unshare --mount`, so that nothing is left behind.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64")
KERNEL = ("proc", "sys", "dev")
PYTHON = Path(sys.base_prefix)
PATH = f"{PYTHON}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


class Root:
    """`folder` becomes the root of the processes; may be used again by a later process that mounts it anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def inside(self, path: str | Path) -> Path:
        """Where a path of the container lies for us."""
        return self.folder / str(path).lstrip("/")

    def make(self) -> "Root":
        """Mount what comes from this machine; the rest of the root starts empty."""
        first = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        mount("--bind", self.folder, self.folder)
        for name in SYSTEM:
            here = Path("/", name)
            if here.is_symlink():
                if first:
                    self.inside(name).symlink_to(os.readlink(here))
            elif here.is_dir():
                self.bind(here, f"/{name}")
        for name in KERNEL:
            self.bind(Path("/", name), f"/{name}")
        if not PYTHON.is_relative_to("/usr"):
            self.bind(PYTHON, str(PYTHON))
        if first:
            # A copy, so that users, names of hosts and configuration can be added to it.
            shutil.copytree("/etc", self.inside("/etc"), symlinks=True)
            for name in ("opt", "srv", "run", "var", "var/lib", "var/tmp"):
                self.inside(name).mkdir(exist_ok=True)
        self.inside("/tmp").mkdir(exist_ok=True)
        self.inside("/tmp").chmod(0o1777)
        return self

    def bind(self, source: Path, target: str) -> None:
        """Show `source` at `target`; the folders above it are open to every user."""
        place = self.inside(target)
        if source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        mount("--rbind", source, place)

    def command(
        self,
        words: Sequence[str],
        *,
        cwd: str = "/",
        user: tuple[int, int] | None = None,
        read_only: bool = False,
        volumes: Mapping[str, Path] | None = None,
        tmpfs: Sequence[str] = (),
    ) -> list[str]:
        """The words to start `words` with, as a process in this root. user: (uid, gid); None: root."""
        script = ['set -eu; root=$1; shift']
        if read_only:
            script.append('mount -o remount,bind,ro "$root"')
        script += [f'mount -t tmpfs -o mode=1777 tmpfs "$root{path}"' for path in tmpfs]
        for target, source in (volumes or {}).items():
            self._place(target, source)
            script.append(f'mount --bind "{source}" "$root{target}"')
        become = ["setpriv", "--no-new-privs"]
        if user is not None:
            uid, gid = map(str, user)
            become += ["--reuid", uid, "--regid", gid, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
        script.append('exec chroot "$root" env --chdir="$1" "${@:2}"')
        inner = ["bash", "-c", "; ".join(script), "container", str(self.folder), cwd, *become, *words]
        return ["unshare", "--mount", *inner]

    def _place(self, target: str, source: Path) -> None:
        place = self.inside(target)
        if source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
