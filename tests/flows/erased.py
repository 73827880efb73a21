"""Looking for what is left of a user: in every column of every table, and in every file below storage_url."""

from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from psycopg import sql
from pyarrow import ArrowInvalid

from storage import postgres
from storage.checkpoints import _HEADER, _unpacked


def in_database(url: str, words: list[str]) -> list[str]:
    """The places, by table and column, whose text holds one of the words; bytes are read as UTF-8."""
    found = []
    with closing(postgres.connect(url, autocommit=True)) as connection:
        columns = connection.execute(
            "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
            "JOIN information_schema.tables USING (table_schema, table_name) "
            "WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert len({table for _, table, _, _ in columns}) > 8
        for schema, table, column, type_ in columns:
            name = sql.Identifier(column)
            # What is no UTF-8 shows as it is escaped; the words are ASCII.
            text = sql.SQL("encode({}, 'escape')" if type_ == "bytea" else "{}::text").format(name)
            query = sql.SQL("SELECT {} FROM {} WHERE {} IS NOT NULL").format(text, sql.Identifier(schema, table), name)
            for (value,) in connection.execute(query):
                found += [f"{table}.{column}: {word}" for word in words if word in value]
    return found


def in_files(storage: Path, words: list[str]) -> list[str]:
    """Files of any name, byte by byte; Parquet also by what DuckDB reads in it, and by its dictionaries, saved states
    by what is compressed in them."""
    found = []
    for path in (path for path in storage.rglob("*") if path.is_file()):
        try:
            content = content_of(path)
        except (FileNotFoundError, duckdb.IOException):  # just deleted, or only a draft as yet
            continue
        found += [f"{path.name}: {word}" for word in words if word.encode() in content]
    return found


def content_of(path: Path) -> bytes:
    """As it is, and as what is compressed in it reads."""
    content = path.read_bytes()
    if ".parquet" in path.name:
        try:
            rows = duckdb.execute(f"SELECT COLUMNS(*)::varchar FROM read_parquet('{path}')").fetchall()
            content += repr(rows).encode() + _dictionaries(path)
        except (duckdb.InvalidInputException, ArrowInvalid):
            if path.suffix != ".tmp":  # a draft that is being written has no end yet: what there is of it was read
                raise
    if path.suffix == ".state":
        content += _unpacked(content[_HEADER.size :])
    return content


def _dictionaries(path: Path) -> bytes:
    """Values that are stored, whether or not a row has them."""
    texts = [f.name for f in pq.read_schema(path) if str(f.type) in ("string", "large_string")]
    table = pq.read_table(path, read_dictionary=texts)
    return b"".join(repr(chunk.dictionary.to_pylist()).encode() for name in texts for chunk in table[name].chunks)
