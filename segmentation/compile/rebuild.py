"""What is done with trees whatever their nodes are: exchanging parts, finding some, counting all."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from operator import is_
from typing import Any

from segmentation.compile.plan import walk
from segmentation.compile.tree import (
    Age,
    Aggregate,
    Band,
    Column,
    Everyone,
    Expr,
    Literal,
    Member,
    Node,
    Now,
    Scalar,
    Segment,
    UserColumn,
)
from segmentation.types import BOOLEAN

_TREES = (tuple, Node)


def mapped(node: Any, exchange: Callable[[Any], Any]) -> Any:
    """`node` with every part replaced for which `exchange` gives another than None; relations are not entered."""
    if isinstance(node, tuple):
        parts = tuple([mapped(part, exchange) for part in node])
        return node if all(map(is_, parts, node)) else parts
    if not isinstance(node, Node):
        return node
    other = exchange(node)
    if other is not None:
        return other
    if isinstance(node, Member):
        return node
    changed = {}
    for name in node.__dataclass_fields__:
        part = getattr(node, name)
        if isinstance(part, _TREES) and (new := mapped(part, exchange)) is not part:
            changed[name] = new
    return replace(node, **changed) if changed else node


def decided(node: Any, is_in: Callable[[Member], bool | None]) -> Any:
    """`node` with the answers for its Members written in; None leaves one as it is."""

    def exchange(part: Any) -> Expr | None:
        if not isinstance(part, Member):
            return None
        answer = is_in(part)
        return None if answer is None else Literal(answer, BOOLEAN, at=part.at)

    return mapped(node, exchange)


def members(node: Any) -> Iterator[Member]:
    """The Members in an expression, each as often as it occurs, but not those inside their relations."""
    if isinstance(node, tuple):
        for part in node:
            yield from members(part)
    elif isinstance(node, Member):
        yield node
    elif isinstance(node, Node):
        for name in node.__dataclass_fields__:
            yield from members(getattr(node, name))


def has_profile(node: Any, seen: set[int] | None = None) -> bool:
    """Whether the truth of an expression or of a relation depends on profiles, however deep inside."""
    if isinstance(node, UserColumn | Everyone):
        return True
    seen = set() if seen is None else seen  # a query that is used twice is one object
    if isinstance(node, tuple):
        return any(has_profile(part, seen) for part in node)
    if not isinstance(node, Node) or id(node) in seen:
        return False
    seen.add(id(node))
    return any(has_profile(getattr(node, name), seen) for name in node.__dataclass_fields__)


def of_profile(node: Expr) -> bool:
    """A value of the user's profile, or of the band that he is in, alone."""
    parts = walk(node)
    other = Column | Aggregate | Age | Now | Member | Scalar
    return any(isinstance(part, UserColumn | Band) for part in parts) and not any(isinstance(p, other) for p in parts)


def segments_in(node: Any) -> set[str]:
    """The names of the segments that a query reads, not of those that these read."""
    if isinstance(node, Segment):
        return {node.name}
    if isinstance(node, tuple):
        return set().union(*map(segments_in, node))
    if isinstance(node, Node):
        return set().union(*(segments_in(getattr(node, name)) for name in node.__dataclass_fields__))
    return set()


def size(node: Any, known: dict[int, int] | None = None) -> int:
    """How many nodes there are, one that is in several places counted in each: what walking over them costs."""
    known = {} if known is None else known
    if isinstance(node, tuple):
        return sum(size(part, known) for part in node)
    if not isinstance(node, Node):
        return 0
    if isinstance(node, Segment):  # whatever it is made of, it is evaluated once
        return 1
    if id(node) not in known:
        known[id(node)] = 1 + sum(size(getattr(node, name), known) for name in node.__dataclass_fields__)
    return known[id(node)]
