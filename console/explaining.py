"""What `validate --explain` prints: what definitions read, share and cost."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from console.output import print_json

if TYPE_CHECKING:
    from segmentation.compile.explain import Explained, Feature
    from storage.definitions_folder import DefinitionsFolder


def print_explained(content: "DefinitionsFolder", as_json: bool) -> None:
    """The definitions must be free of problems."""
    from segmentation.compile import compile_files
    from segmentation.compile.explain import explain, totals

    explained = explain(compile_files(content.files, content.schema))
    total = totals(explained)
    if as_json:
        names = [one.name for one in explained]
        objects = list(map(_object, explained))
        print_json({"ok": True, "definitions": names, "problems": [], "explained": objects, "total": total})
        return
    for one in explained:
        click.echo("\n".join(_lines(one)) + "\n")
    click.echo(
        f"{total['definitions']} definitions, {total['features']} features ({total['shared']} shared), "
        f"{total['windows']} windows, at most {total['bytes_per_user']:,} bytes per user besides what grows"
    )


def _lines(one: "Explained") -> list[str]:
    lines = [f"{one.name} ({one.file})"]
    if one.nobody:
        lines.append("  nobody is ever in it: its conditions exclude each other")
    if one.same_as:
        lines.append(f"  same as {one.same_as}")
    for feature, others in zip(one.features, one.shared):
        lines.append(f"  - {feature.text}  [{_size(feature)}{_shared(others)}]")
    if one.windows:
        lines.append(f"  windows: {', '.join(one.windows)}")
    grows = " and what grows" if any(feature.each for feature in one.features) else ""
    lines.append(f"  state: {one.bytes:,} bytes per user{grows}")
    lines += [f"  warning: {warning}" for warning in one.warnings]
    return lines


def _size(feature: "Feature") -> str:
    return f"{feature.bytes} bytes" + (f" per {feature.each}" if feature.each else "")


def _shared(others: tuple[str, ...]) -> str:
    if not others:
        return ""
    shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return f", also read by {shown}"


def _object(one: "Explained") -> dict[str, Any]:
    return {
        "name": one.name, "file": one.file, "same_as": one.same_as or None, "nobody": one.nobody,
        "features": [
            {**asdict(feature), "shared_with": others} for feature, others in zip(one.features, one.shared)
        ],
        "windows": one.windows, "bytes_per_user": one.bytes, "warnings": one.warnings,
    }  # fmt: skip
