"""Where `prometheus` and `promtool` come from: the path, or Debian's package unpacked into a cache folder."""

import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tidegate-tests"
MISSING = "needs prometheus and promtool: on the path, or from Debian's package (apt-get)"


def find(program: str) -> Path | None:
    """The program, fetched at first use. None: not to be had on this machine."""
    on_path = shutil.which(program)
    if on_path:
        return Path(on_path)
    folder = CACHE / "prometheus"
    unpacked = folder / "usr/bin" / program
    if not unpacked.exists() and shutil.which("apt-get"):
        _unpack(folder)
    return unpacked if unpacked.exists() else None


def _unpack(folder: Path) -> None:
    """Only unpacked, not installed: no service starts, nothing of the system changes."""
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    for attempt in range(2):
        got = subprocess.run(["apt-get", "download", "prometheus"], cwd=parts, capture_output=True)
        if got.returncode == 0:
            break
        if attempt == 0:
            subprocess.run(["apt-get", "update"], capture_output=True)
    for package in parts.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder], check=True)
    shutil.rmtree(parts)
