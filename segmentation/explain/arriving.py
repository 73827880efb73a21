"""Which events could change a user's membership in a segment at all, by event_type: for "unless a purchase arrives".

Where a condition counts events of any type, looks at the profile, or at values beside its events, nothing is said of
types. What is said is exact: if no event of these types arrives, membership changes by time alone.
"""

from segmentation.compile import tree
from segmentation.compile.plan import walk, walk_group

#: So many types are named at most.
_NAMED_MAX = 3


def event_types(query: tree.Relation, seen: bool) -> frozenset[str] | None:
    """None: those of any type, or what is no event. seen: whether an event of the user is known."""
    match query:
        case tree.SetOp(args=args):
            return _together(*(event_types(each, seen) for each in args))
        case tree.Segment(query=inner):
            return event_types(inner, seen)
        case tree.Select(where=where, having=having):
            counted = _types(where)
            # Whoever has had an event is among those with any event for ever.
            population = frozenset[str]() if where is None and seen else counted
            parts = [] if having is None else [_condition(having, counted, seen)]
            return _together(population, *parts, *([] if where is None else [_beside(where)]))
    return None


def _condition(having: tree.Expr, counted: frozenset[str] | None, seen: bool) -> frozenset[str] | None:
    found: list[frozenset[str] | None] = [frozenset()]
    for node in walk_group(having):
        match node:
            case tree.Aggregate():
                within = _types(node.filter)
                found.append(within if counted is None else counted if within is None else counted & within)
                found += [] if node.filter is None else [_beside(node.filter)]
                found += [] if node.arg is None else [_beside(node.arg)]
            case tree.Member(relation=relation):
                found.append(event_types(relation, seen))
            case tree.Scalar() | tree.Band() | tree.UserColumn() | tree.Column():
                found.append(None)
    return _together(*found)


def _beside(row: tree.Expr) -> frozenset[str] | None:
    """Of a condition or value of single events: None where it looks at more than the event."""
    plain = not any(isinstance(node, tree.Scalar | tree.Band | tree.UserColumn | tree.Member) for node in walk(row))
    return frozenset() if plain else None


def _types(condition: tree.Expr | None) -> frozenset[str] | None:
    """The types that events which pass may have."""
    match condition:
        case tree.Compare(op="=", left=tree.Column(name="event_type"), right=tree.Literal(value=str(value))):
            return frozenset([value])
        case tree.In(arg=tree.Column(name="event_type"), values=values):
            return frozenset(str(one.value) for one in values if one.value is not None)
        case tree.And(args=args):
            found = [types for each in args if (types := _types(each)) is not None]
            return frozenset.intersection(*found) if found else None
        case tree.Or(args=args):
            return _together(*map(_types, args))
    return None


def _together(*found: frozenset[str] | None) -> frozenset[str] | None:
    types = [each for each in found if each is not None]
    return None if len(types) < len(found) else frozenset[str]().union(*types)


def unless(types: frozenset[str] | None) -> str:
    """`unless a purchase or a refund arrives before`"""
    if types is not None and not types:
        return "whatever arrives"
    if types is None or len(types) > _NAMED_MAX or not all(name.isprintable() and name.strip() for name in types):
        return "unless something arrives before"
    return f"unless {' or '.join(map(_named, sorted(types)))} arrives before"


def _named(name: str) -> str:
    """With its article; what is no plain word is quoted."""
    if not name.replace("_", "").replace("-", "").replace(" ", "").isalnum():
        return f"an event of type {name!r}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
