"""From SQL files to a plan: parse, bind to the schema, lower."""

from collections.abc import Mapping

from segmentation.compile.bind import bind_all, bind_each
from segmentation.compile.lower import lower
from segmentation.compile.plan import Plan
from segmentation.compile.problems import DefinitionErrors, Problem
from segmentation.events.schema import Schema


def compile_files(files: Mapping[str, str], schema: Schema) -> Plan:
    """The plan of the definitions in `files` (path to text); raises DefinitionErrors with every problem."""
    return lower(bind_all(files, schema), schema)


def problems_of(files: Mapping[str, str], schema: Schema) -> list[Problem]:
    """Every problem of the definitions in `files`, sorted: those that bind are compiled on although others do not."""
    definitions, problems = bind_each(files, schema)
    try:
        lower(definitions, schema)
    except DefinitionErrors as errors:
        problems += errors.problems
    return sorted(problems)
