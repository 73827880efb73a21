"""Style that only ratchets: the lists of exceptions may shrink, never grow."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT, files, name, python_files, syntax

LINES_MAX = 400
#: Longer files, with their length when they were let through. Take a file off the list when it fits.
LONGER: dict[str, int] = {}

#: Hosts of package registries: where packages come from is the installer's configuration, never ours.
#: Written in pieces so that this file does not hold them.
REGISTRY_HOSTS = [
    ".".join(host)
    for host in (
        ("pypi", "org"), ("python" + "hosted", "org"), ("registry", "npmjs", "org"), ("repo1", "maven", "org"),
        ("repo", "maven", "apache", "org"), ("crates", "io"), ("proxy", "golang", "org"), ("deb", "debian", "org"),
    )
]  # fmt: skip

TEXT_SUFFIXES = (
    ".py", ".md", ".yml", ".yaml", ".toml", ".lock", ".sql", ".proto", ".sh", ".xml", ".txt", ".json", ".in",
    "Makefile", "Dockerfile", "run",
)  # fmt: skip


def test_files_are_short_enough_to_read() -> None:
    too_long = {}
    for path in files(".py", ".sql", ".proto", "Makefile", "Dockerfile"):
        if "fixtures" in path.parts:
            continue
        lines = len(path.read_text().splitlines())
        if lines > max(LINES_MAX, LONGER.get(name(path), 0)):
            too_long[name(path)] = lines
    assert not too_long, f"split by subject (at most {LINES_MAX} lines a file): {too_long}"


def test_the_list_of_longer_files_only_shrinks() -> None:
    stale = {}
    for listed in LONGER:
        path = ROOT / listed
        lines = len(path.read_text().splitlines()) if path.exists() else 0
        if lines <= LINES_MAX:
            stale[listed] = lines
    assert not stale, f"take these off LONGER: {stale}"


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name(path)
        for path in python_files(*PACKAGES, "tests", "clients")
        if path.read_text().strip() and not ast.get_docstring(syntax(path))
    ]
    assert not silent, f"a module's docstring is its contract: {silent}"


def comments(path: Path) -> list[tuple[int, str]]:
    """(line, text) of whole-line comments, `#` taken off."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT and token.line.strip().startswith("#"):
            found.append((token.start[0], token.string.lstrip("#:!").strip()))
    return found


_STATEMENT = re.compile(
    r"^(return\b|import |from \w+ import |def |class |raise |assert |[\w.\[\]]+ ?[-+]?= ?\S|[\w.]+\(.*\)$)"
)


def is_code(comment: str) -> bool:
    """Parses as a statement that looks like one (a single word does parse, but is prose)."""
    if not _STATEMENT.match(comment):
        return False
    try:
        ast.parse(comment)
    except SyntaxError:
        return False
    return True


def test_nothing_is_commented_out() -> None:
    found = [
        f"{name(path)}:{line}: {comment}"
        for path in python_files()
        for line, comment in comments(path)
        if is_code(comment)
    ]
    assert not found, f"delete it, git remembers: {found}"


@pytest.mark.parametrize(("comment", "code"), [
    ("total = total + 1", True), ("import os", True), ("log.debug(rows)", True), ("return None", True),
    ("the total is kept", False), ("x: why", False), ("noqa", False), ("fmt: skip", False),
    ("return to the caller", False),
])  # fmt: skip
def test_code_is_told_from_prose(comment: str, code: bool) -> None:
    assert is_code(comment) is code


def test_no_notes_to_self() -> None:
    note = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    found = [
        f"{name(path)}:{number}: {line.strip()}"
        for path in files(".py", ".md", ".sql", ".proto", ".yml", "Makefile", "Dockerfile")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if note.search(line)
    ]
    assert not found, f"do it, or file it: {found}"


def test_no_registry_is_named() -> None:
    found = [
        f"{name(path)}: {host}"
        for path in files(*TEXT_SUFFIXES)
        for host in REGISTRY_HOSTS
        if host in path.read_text(errors="replace")
    ]
    assert not found


def test_tests_do_not_sleep() -> None:
    """Tests wait for a condition, with a deadline; a pause between two looks is at most 0.1 s."""
    found = []
    for path in python_files("tests"):
        for node in ast.walk(syntax(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep", "asyncio.sleep"):
                pause = node.args[0]
                seconds = pause.value if isinstance(pause, ast.Constant) else None
                if not isinstance(seconds, int | float) or seconds > 0.1:
                    found.append(f"{name(path)}:{node.lineno}")
    assert not found, found
