"""From SQL files to a plan: parse, bind to the schema, lower."""

from collections.abc import Mapping

from segmentation.compile.bind import bind_all
from segmentation.compile.lower import lower
from segmentation.compile.plan import Plan
from segmentation.events.schema import Schema


def compile_files(files: Mapping[str, str], schema: Schema) -> Plan:
    """The plan of the definitions in `files` (path to text); raises DefinitionErrors with every problem."""
    return lower(bind_all(files, schema), schema)
