"""grpcurl and ghz, built from their sources once for all runs, where Go and its module proxy are to be had."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = {
    "grpcurl": "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3", "ghz": "github.com/bojand/ghz/cmd/ghz@v0.121.0",
}  # fmt: skip
FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate" / "go-tools"
LONGEST_S = 240
_NOT_REACHED = re.compile(r"dial tcp|i/o timeout|no such host|connection refused|proxyconnect|403|502|503|GOPROXY=off")


def go_tools() -> dict[str, Path]:
    """The programs by name; skips, saying why, where they cannot be had. Both are built at once."""
    found = {name: FOLDER / module.rpartition("@")[2] / name for name, module in TOOLS.items()}
    missing = {name: path for name, path in found.items() if not path.exists()}
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if missing and go is None:
        pytest.skip("grpcurl and ghz are not built, and there is no Go to build them with")
    builds = {name: _build(str(go), TOOLS[name], path.parent) for name, path in missing.items()}
    for name, build in builds.items():
        try:
            _, said = build.communicate(timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            for each in builds.values():
                each.kill()
                each.communicate()
            pytest.skip(f"{name} was not built within {LONGEST_S} s; what has been downloaded stays for the next run")
        if build.returncode and _NOT_REACHED.search(said):
            pytest.skip(f"{name} is not built, for Go's module proxy is not reached: {said.strip().splitlines()[-1]}")
        assert build.returncode == 0, said
    return found


def _build(go: str, module: str, folder: Path) -> "subprocess.Popen[str]":
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-buildvcs=false"}
    return subprocess.Popen([go, "install", module], env=environment, stderr=subprocess.PIPE, text=True)
