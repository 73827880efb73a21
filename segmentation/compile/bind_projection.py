"""What a SELECT selects and groups by: user_id, and in FROM also columns with names."""

from collections.abc import Mapping

from sqlglot import exp

from segmentation.compile.bind_expr import Binder
from segmentation.compile.bind_shape import USER_ID, Place, Reported, folded, place_of
from segmentation.compile.bind_tables import USER, Scope, Users
from segmentation.compile.bind_time import Operand
from segmentation.compile.bind_users import per_user
from segmentation.compile.parse_tokens import SHAPE, shown
from segmentation.compile.problems import Refused
from segmentation.compile.suggest import closest

#: What the queries are that must select user_id alone.
DEFINITION, IN, OPERAND = "A definition", "A query in IN", "A query beside UNION, INTERSECT or EXCEPT"


def user_alone(query: exp.Select, scope: Scope, noun: str) -> list[Refused]:
    """The problems of a list that must be user_id alone."""
    items = query.expressions
    if not items:
        return [Refused(place_of(query.args["from_"].this), "Nothing is selected.", SHAPE)]
    problems = [problem for item in items if (problem := _not_user(item, scope, noun)) is not None]
    if len(items) > 1 and not problems:
        problems = [Refused(place_of(items[1]), "user_id is selected twice.", "Write SELECT user_id.")]
    return problems


def _not_user(item: exp.Expr, scope: Scope, noun: str) -> Refused | None:
    at = place_of(item)
    if isinstance(item, exp.Alias):
        problem = _not_user(item.this, scope, noun)
        if problem is None and folded(item.args["alias"]) != USER_ID and noun != IN:
            reason = "The result is always called user_id."
            return Refused(item.meta["as"], reason, "Remove the alias: SELECT user_id.")
        return problem
    if isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star)):
        table = item.table if isinstance(item, exp.Column) else ""
        items = [one for one in scope.items if not table or one.name == table]
        if len(items) == len(scope.items) == 1 and items[0].table.columns == {USER_ID: USER}:
            return None
        return Refused(at, f"{noun} selects user_id, not all columns.", "Write SELECT user_id.")
    what = shown(item.sql("postgres"))
    if isinstance(item, exp.Column):
        try:
            found = scope.find(item)
        except Refused as refused:
            if folded(item.this) == USER_ID:
                return refused
        else:
            if found.is_user and found.item.join != "left" and not found.outer:
                return None
            if found.is_user:
                reason = f"{what} is not of a table that is in FROM for every user."
                return Refused(at, reason, "Select the user_id of the first table.")
            if found.name == USER_ID:
                return Refused(at, "What is called user_id here is something else.", "Select the user_id of events.")
    remedy = "Did you mean user_id?" if closest(item.name, (USER_ID,)) else "Write SELECT user_id."
    return Refused(at, f"{noun} selects user_id alone, not {what}.", remedy)


def grouping(query: exp.Select, scope: Scope) -> list[Refused]:
    """The problems of GROUP BY, and of a HAVING without it."""
    group, having = query.args.get("group"), query.args.get("having")
    if group is None:
        if having is None:
            return []
        return [Refused(place_of(having), "HAVING needs GROUP BY user_id before it.", "Add GROUP BY user_id.")]
    if not group.expressions:
        return [Refused(place_of(group), "GROUP BY names no column.", "Write GROUP BY user_id.")]
    problems = []
    for written, item in zip(group.expressions, _group_items(query)):
        if value_of(item, scope) is None and not _is_user(item, scope):
            reason = f"A definition groups by user_id alone, not by {shown(item.sql('postgres'))}."
            problems.append(Refused(place_of(written), reason, "Write GROUP BY user_id."))
    if not problems and not any(_is_user(item, scope) for item in _group_items(query)):
        reason = "The groups are not those of users: GROUP BY does not name user_id."
        problems.append(Refused(place_of(group.expressions[0]), reason, "Write GROUP BY user_id first."))
    return problems


def _group_items(query: exp.Select) -> list[exp.Expr]:
    """What is in GROUP BY; a whole number stands for the column of that place in the list."""
    group, selected = query.args.get("group"), query.expressions
    found: list[exp.Expr] = []
    for item in [] if group is None else group.expressions:
        number = isinstance(item, exp.Literal) and not item.is_string and item.this.isdecimal() and len(item.this) < 9
        place = int(item.this) if number else 0
        meant = selected[place - 1] if 0 < place <= len(selected) else item
        found.append(meant.this if isinstance(meant, exp.Alias) else meant)
    return found


def grouped_by(query: exp.Select, scope: Scope) -> list[Operand]:
    """The values of the user in GROUP BY."""
    found = [value_of(item, scope) for item in _group_items(query)]
    return [column for column in found if column is not None]


def value_of(node: exp.Expr, scope: Scope) -> Operand | None:
    """A column of which there is one value per user: it makes no more groups."""
    try:
        found = scope.find(node) if isinstance(node, exp.Column) else None
    except Refused:
        return None
    if found is None or found.outer or found.is_user:
        return None
    if per_user(found.operand):
        return found.operand if found.item.join != "left" else None
    return found.operand if isinstance(found.item.table, Users) else None


def _is_user(node: exp.Expr, scope: Scope) -> bool:
    try:
        found = scope.find(node) if isinstance(node, exp.Column) else None
    except Refused:
        return False
    return found is not None and found.is_user and found.item.join != "left" and not found.outer


def columns(query: exp.Select, binder: Binder, place: Place) -> Mapping[str, Operand]:
    """The columns of a query in FROM, by name. Raises Reported."""
    found: dict[str, Operand] = {}
    failed = False
    for item in query.expressions:
        try:
            for name, operand in _named(item, binder, place).items():
                if name in found:
                    raise Refused(place_of(item), f"Two columns are called {name}.", "Give one another name with AS.")
                found[name] = operand
        except Refused as refused:
            binder.problems.append(refused)
            failed = True
        except Reported:
            failed = True
    if failed:
        raise Reported
    return found


def _named(item: exp.Expr, binder: Binder, place: Place) -> Mapping[str, Operand]:
    if isinstance(item, exp.Star):
        return _all_of(item, "", binder)
    if isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
        return _all_of(item, folded(item.parts[0]), binder)
    if isinstance(item, exp.Alias):
        return {folded(item.args["alias"]): binder.selected(item.this, place)}
    if isinstance(item, exp.Column):
        return {binder.scope.find(item).name: binder.selected(item, place)}
    raise Refused(place_of(item), f"{shown(item.sql('postgres'))} has no name.", "Give it one with AS.")


def _all_of(star: exp.Expr, table: str, binder: Binder) -> Mapping[str, Operand]:
    scope = binder.scope
    items = [item for item in scope.items if not table or item.name == table]
    if not items or len(scope.items) > 1:
        raise Refused(place_of(star), "All columns (*) are taken of one table alone.", "Name the columns.")
    if scope.grouped:
        raise Refused(place_of(star), "All columns (*) and GROUP BY do not go together.", "Name the columns.")
    return items[0].table.columns


def ignored(query: exp.Select, binder: Binder, place: Place) -> None:
    """What EXISTS selects means nothing, but must be something. Raises Reported."""
    failed = False
    for item in query.expressions:
        inner = item.this if isinstance(item, exp.Alias) else item
        if isinstance(inner, exp.Star | exp.Literal | exp.Null | exp.Boolean):
            continue
        if isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star):
            continue
        try:
            binder.selected(inner, place)
        except Reported:
            failed = True
    if failed:
        raise Reported


def distinct(query: exp.Select, columns: Mapping[str, Operand]) -> bool:
    """Whether DISTINCT leaves one row per user. Raises Refused where it may leave several."""
    if all(operand == USER for operand in columns.values()):
        return True
    raise Refused(
        place_of(query), "DISTINCT of several columns is not supported.",
        "Write SELECT DISTINCT user_id, or GROUP BY user_id with an aggregate of the others.",
    )
