"""`tidegate init`: a starting folder whose definition validates, from a sample of events if there is one."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import click

from segmentation.errors import TidegateError

SETTINGS = """\
# Settings of Tidegate; TIDEGATE_* variables and flags win over them. All of them: docs/operations.md.
definitions: segment_defs
kafka: localhost:9092
events_topic: events
# With a password, better as variable TIDEGATE_DATABASE_URL than here.
database_url: postgresql://localhost/tidegate
storage_url: .tidegate/storage
"""

SCHEMA = """\
# The columns of an event. user_id, event_id, event_type and event_time always exist; map them where your
# names differ, such as  event_time: {path: created_at, timezone: UTC}
events:
  region: {type: text}
  device_type: {type: text}
  amount: {type: "numeric(18,2)", path: properties.amount}
"""

DEFINITION = """\
/*
description: Had {shown} before, but none within the last 30 days
owner: you
*/
SELECT user_id
FROM events
WHERE event_type = '{literal}'
GROUP BY user_id
HAVING max(event_time) < now() - INTERVAL '30 days'
"""

#: What a sale is commonly called; the first that occurs makes the better example.
SALES = ("purchase", "order", "buy", "paid", "checkout")


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("."), metavar="[DIR]")
@click.option("--from", "sample", type=click.Path(path_type=Path), metavar="FILE",
              help="A file of events to guess the schema from: NDJSON, CSV or Parquet; each also gzipped.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def command(folder: Path, sample: Path | None, force: bool) -> None:
    """Write DIR/tidegate.yml, DIR/segment_defs/schema.yml and one segment that validates.

    With --from, the schema is guessed from the first events of FILE: read it, correct it. Files that are
    there are left alone and named, unless --force.

    \b
    Examples:
      tidegate init
      tidegate init shop --from events.ndjson.gz
    """
    from console.sampling import accepted, event_types, sample_messages
    from segmentation.compile import compile_files
    from segmentation.events.infer import infer_schema
    from segmentation.events.schema import load_schema

    messages = sample_messages(sample) if sample is not None else []
    schema_text = infer_schema(messages) if sample is not None else SCHEMA
    schema = load_schema(schema_text)
    name, definition = _definition(event_types(messages, schema))
    definitions = folder / "segment_defs"
    written = {
        folder / "tidegate.yml": SETTINGS,
        definitions / "schema.yml": schema_text,
        definitions / f"{name}.sql": definition,
    }
    compile_files({str(definitions / f"{name}.sql"): definition}, schema)
    _write(written, force)
    for path in written:
        click.echo(f"wrote {path}")
    if sample is not None:
        _say_accepted(messages, accepted(messages, schema), definitions / "schema.yml")
    _say_next(folder, definitions, sample)


def _definition(types: Counter[str]) -> tuple[str, str]:
    """(file name, text) about a sale, else about the commonest event type that a SQL text can hold plainly."""
    usable = [kind for kind, _ in types.most_common() if kind.isprintable() and "*/" not in kind and len(kind) <= 60]
    sales = [kind for word in SALES for kind in usable if word in kind.lower()]
    kind = (sales or usable or ["purchase"])[0]
    # In the description only what is plain in YAML whatever follows.
    shown = f"{kind} events" if re.fullmatch(r"[A-Za-z0-9][\w .-]*", kind) else "such events"
    return "quiet_for_30_days", DEFINITION.format(shown=shown, literal=kind.replace("'", "''"))


def _write(files: dict[Path, str], force: bool) -> None:
    there = [str(path) for path in files if path.exists()]
    if there and not force:
        raise TidegateError(f"{', '.join(there)}: already there. Nothing was written; --force overwrites.")
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise TidegateError(f"{path}: cannot be written: {error.strerror or error}.") from None


def _say_accepted(messages: list[bytes], outcome: Any, schema_file: Path) -> None:
    fine, refused = outcome
    click.echo(f"with this schema, {fine:,} of the {len(messages):,} sampled events are accepted")
    for reason, (count, detail) in refused.items():
        click.echo(f"  {count:,} refused: {reason}: {detail}")
    if refused:
        click.echo(f"  correct {schema_file}, then try `tidegate evaluate`")


def _say_next(folder: Path, definitions: Path, sample: Path | None) -> None:
    click.echo("next:")
    click.echo(f"  tidegate validate {definitions}")
    click.echo(f"  tidegate evaluate --definitions {definitions} --events {sample or 'events.ndjson'}")
