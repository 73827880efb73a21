"""The operators' folder: `*.sql` (the file name is the segment's name) and `schema.yml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segmentation.errors import TidegateError
from segmentation.events.schema import Schema, load_schema

SCHEMA_FILE = "schema.yml"


@dataclass(frozen=True, slots=True)
class DefinitionsFolder:
    """files: path, as a person would type it from here -> text; sorted by path. schema_text: that of schema.yml."""

    schema: Schema
    files: dict[str, str]
    schema_text: str

    @property
    def texts(self) -> dict[str, str]:
        """Every file, schema.yml included, by its bare name."""
        return {Path(path).name: text for path, text in self.files.items()} | {SCHEMA_FILE: self.schema_text}

    @staticmethod
    def of_texts(texts: Mapping[str, str]) -> "DefinitionsFolder":
        """The folder that has these `texts`; its paths are the bare names."""
        schema = load_schema(texts[SCHEMA_FILE], SCHEMA_FILE)
        files = {name: text for name, text in sorted(texts.items()) if name != SCHEMA_FILE}
        return DefinitionsFolder(schema, files, texts[SCHEMA_FILE])


def read_definitions(folder: Path) -> DefinitionsFolder:
    """TidegateError where the folder, its schema or every definition is missing or unreadable; SchemaError."""
    if not folder.is_dir():
        reason = "is a file, not a folder" if folder.exists() else "no such folder"
        raise TidegateError(
            f"{folder}: {reason}. Name the folder of *.sql and schema.yml, or start with `tidegate init`."
        )
    schema = read_schema(folder)
    files = {str(path): _text(path) for path in sorted(folder.glob("*.sql")) if path.is_file()}
    if not files:
        raise TidegateError(f"{folder}: holds no definition. Write one as {folder / 'my_segment.sql'}.")
    return DefinitionsFolder(schema, files, _text(folder / SCHEMA_FILE))


def read_schema(folder: Path) -> Schema:
    path = folder / SCHEMA_FILE
    if not path.is_file():
        raise TidegateError(f"{path}: no such file. It declares the events' columns; `tidegate init` writes one.")
    return load_schema(_text(path), str(path))


def _text(path: Path) -> str:
    try:
        # Not read_text(): line ends stay as they are, so that columns and digests are those of the file.
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TidegateError(f"{path}: not UTF-8 (byte {error.start + 1}). Save it as UTF-8.") from None
    except OSError as error:
        raise TidegateError(f"{path}: cannot be read: {error.strerror or error}.") from None
