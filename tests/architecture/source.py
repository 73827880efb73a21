"""The repository's own files, for tests that read them instead of running them."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("segmentation", "flows", "storage", "grpc_server", "console", "loadtest")
SKIPPED = {".venv", ".git", "generated", "__pycache__", "build", "node_modules", "target", "out", ".tidegate"}


@cache
def files(*suffixes: str) -> tuple[Path, ...]:
    """Files below the repository with one of these suffixes; generated and installed ones left out."""
    found = []
    folders = [ROOT]
    while folders:
        for path in folders.pop().iterdir():
            if path.name in SKIPPED or path.name.endswith((".egg-info", "_cache", ".hypothesis")):
                continue
            if path.is_dir():
                folders.append(path)
            elif path.suffix in suffixes or path.name in suffixes:
                found.append(path)
    return tuple(sorted(found))


def python_files(*folders: str) -> list[Path]:
    """Python files of these top-level folders, or all of them."""
    return [path for path in files(".py") if not folders or path.relative_to(ROOT).parts[0] in folders]


@cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
