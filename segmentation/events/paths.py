"""The columns of a schema as the tree that their paths make: the shape that a message is read with.

`Node.leaves`: key to the columns that are read there (several may share a path); `Node.inner`: key to the object
below it. `Node.fields` gives keys names that Python allows: f0, f1 ..., leaves first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from segmentation.events.schema import EventColumn


@dataclass(slots=True)
class Node:
    leaves: dict[str, list[EventColumn]] = field(default_factory=dict)
    inner: dict[str, "Node"] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, str]:
        """Field name to key."""
        return {f"f{index}": key for index, key in enumerate([*self.leaves, *self.inner])}


def tree(columns: Iterable[EventColumn]) -> Node:
    """The root; generated columns are not in it."""
    root = Node()
    for column in columns:
        if column.path:
            node = root
            for key in column.path[:-1]:
                node = node.inner.setdefault(key, Node())
            node.leaves.setdefault(column.path[-1], []).append(column)
    return root


REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class Field:
    """Of a struct: its type, what stands in where there is no message, and its default, if it may be missing."""

    type: Any
    blank: Any
    default: Any = REQUIRED


def struct(node: Node, fields: Sequence[Field]) -> type[msgspec.Struct]:
    """A struct with the node's fields, in their order; fields of the message that no column reads are skipped."""
    declared = [
        (name, field.type) if field.default is REQUIRED else (name, field.type, field.default)
        for name, field in zip(node.fields, fields, strict=True)
    ]
    return msgspec.defstruct("Message", declared, rename=node.fields, gc=False, frozen=True, kw_only=True)
