"""Why nobody is in a segment: its condition as a tree, and for how many users each part of it holds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.output import rfc3339
from segmentation.errors import TidegateError
from segmentation.types import NEVER

if TYPE_CHECKING:
    from segmentation.compile.parts import Condition, Part
    from segmentation.compile.plan import Plan
    from segmentation.evaluate.counting import Counts
    from storage.settings import Settings

#: So often the states are looked up again when an engine replaces them meanwhile.
_TRIES = 3


class NotTold(TidegateError):
    """What the parts of a condition hold for cannot be found out; the message says why, and what to do."""


def of_deployment(settings: "Settings", segment: str) -> tuple["Condition", "Counts"]:
    """By the states that the engine saved last. Raises NotTold."""
    try:
        return _of_deployment(settings, segment)
    except NotTold:
        raise
    except TidegateError as error:
        raise NotTold(str(error)) from None


def _of_deployment(settings: "Settings", segment: str) -> tuple["Condition", "Counts"]:
    from segmentation.compile import compile_files
    from segmentation.compile.parts import condition
    from segmentation.evaluate.counting import count
    from storage.checkpoints import CheckpointError
    from storage.definitions_folder import read_definitions
    from storage.saved_state import counted, records

    folder = read_definitions(settings.definitions)
    plan = compile_files(folder.files, folder.schema)
    url = settings.database_url.get_secret_value()
    _compare(url, plan, folder.schema.digest, settings.definitions)
    asked = condition(plan, plan.names.index(segment))
    for tries in range(1, _TRIES + 1):
        saved = records(url)
        if not saved:
            raise NotTold(
                "the engine has saved no state yet; it does so every `checkpoint_every` seconds "
                f"({settings.checkpoint_every:g}), and when it ends. Ask again then."
            )
        try:
            return asked, count((counted(settings.storage_url, record, plan) for record in saved), asked)
        except CheckpointError as error:
            # The engine deletes a file once the next one is recorded.
            if tries == _TRIES or records(url) == saved:
                raise NotTold(
                    f"{error} The parts are counted in the saved states: run this where storage_url "
                    f"({settings.storage_url}) is the engine's."
                ) from None
    raise AssertionError("the last try raises")


def _compare(url: str, plan: "Plan", schema: str, folder: Path) -> None:
    """Raises NotTold unless the definitions here are those that the engine runs."""
    from contextlib import closing

    from storage import postgres
    from storage.engine_state import DefinitionsChanged, EngineRecord, check_definitions, read_engine

    where = postgres.address(url)
    with closing(postgres.connect(url, application="tidegate")) as connection, postgres.foreign_errors(where):
        stored = read_engine(connection)
    if stored is None:
        raise NotTold(f"no engine has run on the database {where}. Give the engine's settings with --config FILE.")
    here = EngineRecord.of(plan.segments, plan.digest, schema, stored.shards, stored.options)
    try:
        check_definitions(stored, here)
    except DefinitionsChanged as changed:
        raise NotTold(
            f"the definitions in {folder} are not those that the engine runs: {'; '.join(changed.differences)}. "
            "Ask again when it runs these (`tidegate run --rebuild`), or with the settings of those that it runs."
        ) from None


def lines(condition: "Condition", counts: "Counts") -> Iterator[str]:
    """For people."""
    if condition.root is None:
        yield f"Nobody is ever in {condition.segment}: its conditions exclude each other."
        return
    held = counts.of(condition.root.truth)
    users = f"of {counts.users:,} user{'s' * (counts.users != 1)} known{_as_of(counts)}"
    said = f"{held:,}" if held else "none"
    yield f"{condition.segment}: {users}, {said} {'is' if held == 1 else 'are'} in it. Each part holds for so many:"
    width = len(f"{counts.users:,}")
    yield from _tree(condition.root, counts, width, 1, _needed(condition.root))
    for name, truth in condition.reads:
        yield f"  {counts.of(truth):>{width},}  in the segment `{name}`, which it reads"


def _as_of(counts: "Counts") -> str:
    known = sorted(at for at in counts.as_of if at > NEVER)
    if not known:
        return ""
    until = f" to {rfc3339(known[-1])}, by shard" if known[-1] != known[0] else ""
    return f" as of {rfc3339(known[0])}{until}"


def _tree(
    part: "Part", counts: "Counts", width: int, depth: int, without: set[tuple[int, bool]]
) -> Iterator[str]:
    notes = []
    if part.segments:
        notes.append(f"the segment{'s' * (len(part.segments) > 1)} {_names(part.segments)}")
    if part.truth in without:
        notes.append(f"without it the others hold for {counts.without.get(part.truth, 0):,}")
    label = f"{part.label} " if part.label else ""
    text = f"{label}as above" if part.again else f"{label}{part.text}{':' if part.parts else ''}"
    note = f"  [{'; '.join(notes)}]" if notes else ""
    yield f"{'  ' * depth}{counts.of(part.truth):>{width},}  {text}{note}"
    for each in part.parts:
        yield from _tree(each, counts, width, depth + 1, without)


def _needed(root: "Part") -> set[tuple[int, bool]]:
    """The parts of which all must hold."""
    return {part.truth for part in root.parts} if root.all else set()


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def as_object(condition: "Condition", counts: "Counts") -> dict[str, Any]:
    """For programs."""
    known = sorted(at for at in counts.as_of if at > NEVER)
    root = condition.root
    return {
        "users": counts.users,
        "as_of": rfc3339(known[0]) if known else None,
        "as_of_latest": rfc3339(known[-1]) if known else None,
        "condition": None if root is None else _object(root, counts, _needed(root)),
        "reads": [{"segment": name, "users": counts.of(truth)} for name, truth in condition.reads],
    }


def _object(part: "Part", counts: "Counts", without: set[tuple[int, bool]]) -> dict[str, Any]:
    found: dict[str, Any] = {"users": counts.of(part.truth)}
    if part.all is None:
        found["sql"] = part.text
    else:
        found["holds_if"] = part.text
    if part.label:
        found["label"] = part.label
    if part.segments:
        found["same_as"] = list(part.segments)
    if part.truth in without:
        found["users_without"] = counts.without.get(part.truth, 0)
    if part.parts:
        found["parts"] = [_object(each, counts, without) for each in part.parts]
    return found
