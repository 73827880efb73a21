"""The files of tests: `tests/*.yml` beside the definitions; which are meant, and what is in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from console.segment_tests.cases import Case, Names, cases_of
from console.segment_tests.model import read_file
from console.segment_tests.problems import Problem, TestFileErrors
from segmentation.compile import compile_files
from segmentation.compile.plan import Plan
from segmentation.compile.suggest import closest, listed
from segmentation.errors import TidegateError
from storage.definitions_folder import read_definitions

FOLDER = "tests"


@dataclass(slots=True)
class Tests:
    """The cases that were asked for, of all files that were read; problems: of files that cannot be used."""

    plan: Plan
    names: Names
    cases: list[Case]
    problems: list[Problem]
    untested: list[str]


def find(definitions: Path, wanted: Sequence[str]) -> Tests:
    """wanted: segments or files, none for everything. TidegateError for what is neither, and where nothing is."""
    content = read_definitions(definitions)
    plan = compile_files(content.files, content.schema)
    names = Names(plan, [Path(file).stem for file in content.files])
    folder = definitions / FOLDER
    files = [path for path in sorted(folder.glob("*")) if path.suffix in (".yml", ".yaml") and path.is_file()]
    paths, segments = _wanted(wanted, files, names)
    if not files and not paths:
        raise TidegateError(
            f"{folder}: there are no tests. `tidegate test --create SEGMENT` writes a first one from real events."
        )
    cases: list[Case] = []
    problems: list[Problem] = []
    for path in dict.fromkeys([*([] if paths and not segments else files), *paths]):
        try:
            found, wrong = cases_of(read_file(_text(path), str(path)), content.schema, names)
        except TestFileErrors as errors:
            found, wrong = [], errors.problems
        cases += found
        problems += wrong
    tested = {segment.partition("/")[0] for case in cases for segment in case.segments}
    untested = sorted({name.partition("/")[0] for name in names.segments} - tested)
    asked = {str(path) for path in paths}
    if wanted:
        cases = [case for case in cases if case.file in asked or any(_is_about(case, name) for name in segments)]
        if not cases and not problems:
            raise TidegateError(f"no test is about {listed(segments)}. Write one with `tidegate test --create`.")
    return Tests(plan, names, cases, problems, untested)


def _wanted(wanted: Sequence[str], files: Sequence[Path], names: Names) -> tuple[list[Path], list[str]]:
    """(files, segments)."""
    paths, segments = [], []
    for each in wanted:
        path = Path(each)
        if each in names.all:
            segments.append(each)
        elif path.is_file():
            paths.append(path)
        elif named := [file for file in files if each in (file.stem, file.name)]:
            paths += named
        else:
            near = closest(each, [*names.all, *(file.stem for file in files)])
            advice = f"Did you mean {near}?" if near else f"There are {listed(names.all)}."
            raise TidegateError(f"{each} is neither a segment nor a file of tests. {advice}")
    return paths, segments


def _is_about(case: Case, name: str) -> bool:
    """A definition is meant with all of its bands, a band also where its definition is tested."""
    of = name.partition("/")[0]
    return any(name == each or each == of or each.partition("/")[0] == name for each in case.segments)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TidegateError(f"{path}: cannot be read: {error}.") from None
