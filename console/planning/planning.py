"""From the folder and what is deployed to a report."""

import time
from pathlib import Path

from console.loading import progress
from console.planning import members_file
from console.planning.computing import Found, NotTold, Task, compute
from console.planning.cost import state_cost
from console.planning.model import Deployed, Report
from segmentation.compile import compile_files
from segmentation.compile.changes import Kind, Side, compare
from segmentation.compile.problems import DefinitionErrors
from segmentation.errors import TidegateError
from storage.column_history import columns_since
from storage.definitions_folder import DefinitionsFolder
from storage.deployments import building, deployed, versions
from storage.engine_state import complete_since
from storage.migrate import check
from storage.settings import Settings

#: Fewer rows than this are built before a bar could be seen.
_WORTH_A_BAR = 200_000


def plan(settings: Settings, folder: DefinitionsFolder, sample: int, members: Path | None) -> Report:
    """members: the file to write all who enter and leave to. DefinitionErrors for the folder's problems;
    TidegateError where the database cannot be asked or this version refuses what is deployed."""
    new = compile_files(folder.files, folder.schema)
    url = settings.database_url.get_secret_value()
    check(url)
    now, coming = deployed(url), building(url)
    if now is None:
        changes = compare(Side({}, folder.schema), Side(folder.files, folder.schema))
        unknown = "no engine has ever run on this database. The first `tidegate run` deploys the folder as it is."
        if members is not None:
            members_file.write(members, {})
        return Report(str(settings.definitions), None, changes, state_cost(None, new), unknown=unknown)
    before = now.folder
    try:
        old = compile_files(before.files, before.schema)
    except DefinitionErrors as errors:
        first = errors.problems[0]
        raise TidegateError(
            f"This version of Tidegate refuses what is deployed: version {now.version}, {first.file}:{first.at.line}: "
            f"{first.reason} Plan with the engine's version."
        ) from None
    changes = compare(Side(before.files, before.schema), Side(folder.files, folder.schema))
    report = Report(
        str(settings.definitions), Deployed(now.version, now.by, now.at), changes, state_cost(old, new)
    )
    if coming is not None:
        report.coming = f"version {coming.version}, applied by {coming.by}, is being built and is not compared with"
    found = Found()
    if changes.schema or any(change.kind is not Kind.SAME for change in changes.definitions):
        columns = columns_since(versions(url), folder.schema, time.time_ns() // 1_000)
        task = Task(old, new, before.schema, folder.schema, changes.affected, sample, columns, complete_since(url))
        try:
            found = _computed(settings, task)
        except NotTold as error:
            report.unknown = str(error)
            if members is not None:
                raise TidegateError(f"--members {members}: {error}") from None
    report.users, report.moves, report.places = found.users, found.moves(sample), found.places
    report.work = found.work if found.places else None
    if members is not None:
        members_file.write(members, found.differences)
        report.members_file = str(members)
    return report


def _computed(settings: Settings, task: Task) -> Found:
    with progress("building the new state from the archive", 1.0) as advance:
        return compute(settings, task, lambda share, rows: advance(share if rows >= _WORTH_A_BAR else 0))
