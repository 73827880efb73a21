"""Queries made of queries: set operations, derived tables, WITH, joins, IN and EXISTS, to some depth.

The conditions in them are those of `grammar`: `{rule}` in a template is its text. Every table that a query
inside refers to has a name of its own, t1, t2, ...; all texts are what DuckDB runs as they stand.
"""

import re
from collections.abc import Callable, Sequence
from itertools import count

from hypothesis import strategies as st

from tests.oracle.choices import one_of
from tests.oracle.grammar_users import QUERIES

Draw = Callable[[st.SearchStrategy[str]], str]
#: Text of a rule of the grammar, by name.
Expand = Callable[[str], str]
#: What stands for a name in a template: a text, or how to make one.
Part = str | Callable[[], str]

#: Of the table {name}, of a definition with bands, of which `a` is always one.
BANDS = [
    *["SELECT user_id FROM segments.{name} WHERE {band}"] * 3, "SELECT user_id FROM segments.{name}",
    "SELECT user_id FROM events JOIN segments.{name} AS {two} USING (user_id) WHERE {band} AND {kind} "
    "GROUP BY user_id{having}",
    "SELECT user_id FROM events JOIN segments.{name} AS {two} USING (user_id) WHERE ({band} OR {rows}) "
    "GROUP BY user_id, band HAVING {band} OR {groups}",
    "SELECT user_id FROM events LEFT JOIN segments.{name} {two} USING (user_id) WHERE ({band} OR {kind})",
    "SELECT user_id FROM users LEFT JOIN segments.{name} USING (user_id) WHERE {band} OR {person}",
    "SELECT user_id FROM events JOIN segments.{name} {two} USING (user_id) GROUP BY user_id HAVING "
    "count(*) FILTER (WHERE {band} AND {rows}) {op} {small} AND max(band) {op} 'b'",
    "SELECT {two}.user_id FROM segments.{name} {two} JOIN users USING (user_id) WHERE band {op} country OR {band}",
    "SELECT user_id FROM (SELECT user_id, lower(band) AS low, band FROM segments.{name}) {two} WHERE NOT ({band}) "
    "OR low {op} 'b'",
    "SELECT {two}.user_id FROM users {two} WHERE {two}.user_id NOT IN (SELECT user_id FROM segments.{name} "
    "WHERE {band})",
    "SELECT {two}.user_id FROM events {two} WHERE EXISTS (SELECT 1 FROM segments.{name} x WHERE x.user_id = "
    "{two}.user_id AND {band}) AND {kind}",
    "SELECT events.user_id FROM events WHERE (SELECT x.band FROM segments.{name} x WHERE x.user_id = events.user_id) "
    "{op} 'b' OR {kind}",
    "SELECT {two}.user_id FROM segments.{name} {two} JOIN segments.{name} x ON x.user_id = {two}.user_id "
    "AND x.band {op} {two}.band",
]

_USER = re.compile(r"(?<![.\w])user_id\b")


class Sets:
    def __init__(self, draw: Draw, expand: Expand, segments: Sequence[str] = ()) -> None:
        """segments: names of those that may be read."""
        self._draw, self._expand, self._segments = draw, expand, list(segments)
        self._numbers = count(1)

    def query(self, depth: int) -> str:
        """A query that returns user_id alone."""
        if not depth:
            return self._leaf()
        forms: list[Callable[[int], str]] = [
            *[self._set_operation] * 3, self._chain, self._derived, self._rows_of_rows, *[self._values] * 2,
            *[self._asking] * 3, self._asking_groups, self._joined, self._left, *[self._named] * 2, self.of_users,
        ]  # fmt: skip
        return forms[int(self._draw(one_of(tuple(map(str, range(len(forms)))))))](depth - 1)

    def bands(self) -> str:
        """A definition with bands, of which `a` is always one."""
        source = self._text(
            "events{where} GROUP BY user_id", "events{where} GROUP BY user_id HAVING {groups}",
            "users LEFT JOIN events USING (user_id) GROUP BY user_id",
            "(SELECT user_id, {count} AS n, max(event_time){only} AS seen FROM events GROUP BY user_id) x",
            "(SELECT user_id, {count} AS n, max(event_time){only} AS seen FROM events GROUP BY user_id) x "
            "WHERE user_id IN ({inner})", inner=lambda: self.query(1),
        )  # fmt: skip
        count, seen = ("n", "seen") if " seen " in source else ("count(*)", "max(event_time)")
        cases = self._text(
            "CASE WHEN {n} <= 1 THEN 'a' WHEN {n} BETWEEN 2 AND 3 THEN 'b' WHEN {n} > 4 THEN 'c' END",
            "CASE WHEN now() - {seen} < {near} THEN 'a' WHEN now() - {seen} <= {far} THEN 'b' ELSE 'c' END",
            "CASE WHEN {seen} > now() - {near} THEN 'a' WHEN {seen} > now() - {far} THEN 'b' END",
            "CASE {n} WHEN 1 THEN 'a' WHEN {small} THEN 'b' WHEN {small} THEN 'a' WHEN {small} THEN NULL ELSE '3+' END",
            *["CASE WHEN {any} THEN 'a' WHEN {any} THEN 'b' WHEN {any} THEN 'a' ELSE 'c' END"] * (count != "n"),
            n=count, seen=seen, any=lambda: self._expand("groups"),
        )  # fmt: skip
        return f"SELECT user_id, {cases} AS band FROM {source}"

    def _text(self, *templates: str, **parts: Part) -> str:
        chosen = self._draw(one_of(templates))
        return chosen.format_map(_Parts(self._expand, parts))

    def _name(self) -> str:
        return f"t{next(self._numbers)}"

    def _leaf(self) -> str:
        banded = [name.partition("/")[0] for name in self._segments if "/" in name]
        if banded and self._text("events", "bands") == "bands":
            return self._text(*BANDS, name=self._draw(one_of(tuple(banded))), one=self._name, two=self._name())
        if self._segments and self._text("events", "segments") == "segments":
            return self._text(
                'SELECT user_id FROM segments."{name}"',
                'SELECT s.user_id FROM "segments"."{name}" AS s WHERE {member}',
                'SELECT "{name}".user_id FROM segments."{name}"', 'SELECT * FROM segments."{name}"',
                name=self._draw(one_of(tuple(self._segments))), member=lambda: self.member("s", 0),
            )  # fmt: skip
        return self._text(
            *["{query}"] * 4, "SELECT user_id FROM events WHERE {rows}", "SELECT user_id FROM users WHERE {person}",
            "SELECT DISTINCT user_id FROM events WHERE {rows}", "SELECT e.user_id FROM events e WHERE {kind}",
        )  # fmt: skip

    def of_users(self, depth: int) -> str:
        """Of users, or of events joined with them."""
        one = self._name()
        return self._text(
            *QUERIES, one=one, two=self._name(), inner=lambda: self.query(depth),
            member=lambda: self.member(one, depth),
        )  # fmt: skip

    # -- queries beside each other ---------------------------------------------------------------------

    def _set_operation(self, depth: int) -> str:
        return self._text(
            "{left} UNION {right}", "{left} UNION ALL {right}", *["{left} EXCEPT {right}"] * 2,
            "{left} INTERSECT {right}", "{left} INTERSECT ALL {right}",
            "SELECT DISTINCT user_id FROM ({left}) AS {name} EXCEPT ALL {right}",
            left=self._operand(depth), right=self._operand(depth), name=self._name(),
        )  # fmt: skip

    def _operand(self, depth: int) -> str:
        text = self.query(depth)
        return f"({text})" if text.startswith("WITH") else self._text("{text}", "({text})", text=text)

    def _chain(self, _: int) -> str:
        """Without parentheses, so that INTERSECT binds closer."""
        return self._text(
            "{a} {word} {b} {word} {c}", "{a} {word} {b} {word} {c} {word} {d}",
            a=self._leaf, b=self._leaf, c=self._leaf, d=self._leaf,
            word=lambda: self._text("UNION", "INTERSECT", "EXCEPT"),
        )  # fmt: skip

    # -- tables made of queries --------------------------------------------------------------------------

    def _derived(self, depth: int) -> str:
        name = self._name()
        where = self._text(
            "", " WHERE {name}.user_id {op} 'u1'", " WHERE {member}", name=name, member=lambda: self.member(name, depth)
        )
        return self._text(
            "SELECT user_id FROM ({inner}) AS {name}{where}", "SELECT DISTINCT user_id FROM ({inner}) {name}{where}",
            "SELECT user_id FROM ({inner}) {name}{where} GROUP BY user_id",
            inner=self.query(depth), name=name, where=where,
        )  # fmt: skip

    def _rows_of_rows(self, _: int) -> str:
        """Events, narrowed in a table of their own."""
        return self._text(
            "SELECT user_id FROM (SELECT * FROM events WHERE {rows}) AS {name} GROUP BY user_id HAVING {groups}",
            "SELECT user_id FROM (SELECT *, lower(region) AS low FROM events WHERE {rows}) {name} WHERE low {op} 'ca' "
            "GROUP BY user_id HAVING {groups} OR min(low) > 'c'",
            name=self._name(),
        )

    def _values(self, depth: int) -> str:
        """Aggregates with names, compared where they are no aggregates any more."""
        name, other = self._name(), self._name()
        values = (
            "SELECT user_id, {count} AS n, {sum} AS s, max(event_time){only} AS seen "
            "FROM events{where} GROUP BY user_id"
        )
        others = values.replace(" n,", " m,").replace(" s,", " r,").replace(" seen ", " last ")
        compared = self._text(
            "n {op} {small}", "NOT (n {op} {small})", "s {op} {money}", "s IS NULL", "s / 2 {op} n",
            "n BETWEEN 1 AND {small}", "seen {order} now() - {span}", "now() - seen {order} {span}",
            "(n {op} {small} OR seen > now() - {span})",
        )  # fmt: skip
        return self._text(
            "SELECT user_id FROM ({values}) AS {name} WHERE {compared}",
            "SELECT user_id FROM ({values}) AS {name} WHERE {compared} AND {member}",
            "SELECT user_id FROM ({values}) AS {name} WHERE {member} OR {compared}",
            "SELECT user_id FROM ({values}) {name} JOIN ({others}) {other} USING (user_id) WHERE {compared} AND {both}",
            "SELECT {name}.user_id FROM ({values}) {name} JOIN ({others}) {other} "
            "ON {name}.user_id = {other}.user_id AND {both} WHERE {compared}",
            values=lambda: self._text(values), others=lambda: self._text(others), name=name, other=other,
            compared=compared, member=lambda: self.member(name, depth),
            both=lambda: self._text("{name}.n {op} m", "coalesce(s, 0) > r", "seen < last", "m > n + 1", name=name),
        )  # fmt: skip

    def _joined(self, depth: int) -> str:
        """Events of users that another query has."""
        name = self._name()
        return self._text(
            "SELECT {name}.user_id FROM events AS {name} JOIN ({inner}) AS {other} USING (user_id) WHERE {rows}",
            "SELECT {name}.user_id FROM events AS {name} JOIN (SELECT DISTINCT user_id FROM ({inner}) x) {other} "
            "ON {name}.user_id = {other}.user_id GROUP BY {name}.user_id HAVING {groups}",
            "SELECT {name}.user_id FROM events AS {name}, ({inner}) {other} WHERE {other}.user_id = {name}.user_id "
            "AND {rows}",
            name=name, other=self._name(), inner=self.query(depth), rows=self._of(name, self._expand("rows")),
        )  # fmt: skip

    def _left(self, depth: int) -> str:
        name, other = self._name(), self._name()
        missing = self._text("{other}.user_id IS NULL", "{other}.user_id IS NOT NULL", other=other)
        return self._text(
            "SELECT {name}.user_id FROM events {name} LEFT JOIN ({inner}) AS {other} {on} WHERE {missing} AND {rows}",
            "SELECT {name}.user_id FROM events {name} LEFT JOIN ({inner}) AS {other} {on} WHERE ({rows} OR {missing})",
            "SELECT {name}.user_id FROM ({another}) AS {name} LEFT JOIN ({inner}) {other} {on} WHERE {missing}",
            "SELECT {name}.user_id FROM ({another}) AS {name} LEFT JOIN events {other} "
            "ON {other}.user_id = {name}.user_id AND {their} WHERE {missing}",
            "SELECT {name}.user_id FROM events AS {name} LEFT JOIN (SELECT user_id, {count} AS n FROM events{where} "
            "GROUP BY user_id) {other} ON {other}.user_id = {name}.user_id AND {other}.n {op} {small} WHERE {missing}",
            name=name, other=other, inner=self.query(depth), another=lambda: self.query(depth), missing=missing,
            on=self._text("USING (user_id)", "ON {other}.user_id = {name}.user_id", name=name, other=other),
            rows=lambda: self._of(name, self._expand("rows")), their=lambda: self._of(other, self._expand("rows")),
        )  # fmt: skip

    def _named(self, depth: int) -> str:
        one, two = self._name(), self._name()
        second = self._text(
            "SELECT user_id FROM {one} WHERE {member}", "SELECT user_id FROM events WHERE {rows}",
            "SELECT * FROM events WHERE user_id IN (SELECT user_id FROM {one})",
            one=one, member=lambda: self.member(one, depth),
        )  # fmt: skip
        last = self._text(
            "SELECT user_id FROM {two}", "SELECT user_id FROM {one} EXCEPT SELECT user_id FROM {two}",
            "SELECT a.user_id FROM {one} a JOIN {two} AS b ON b.user_id = a.user_id",
            "SELECT user_id FROM events WHERE {kind} AND user_id NOT IN (SELECT user_id FROM {two})",
            one=one, two=two,
        )  # fmt: skip
        return f"WITH {one} AS ({self.query(depth)}), {two} AS ({second}) {last}"

    # -- queries in conditions -----------------------------------------------------------------------------

    def _asking(self, depth: int) -> str:
        name = self._name()
        where = self._text(
            "{member}", *["{rows} AND {member}"] * 2, "({rows} OR {member})", "NOT ({rows} AND {member})",
            "{member} AND {member}", "({member}) = ({kind})", "({member} OR NOT ({rows})) IS TRUE",
            member=lambda: self.member(name, depth),
        )  # fmt: skip
        having = self._text("", " HAVING {groups}", " HAVING {groups}")
        return f"SELECT {name}.user_id FROM events AS {name} WHERE {where} GROUP BY {name}.user_id{having}"

    def _asking_groups(self, depth: int) -> str:
        name = self._name()
        having = self._text(
            "{groups} AND {member}", "({groups} OR {member})", "NOT ({member}) AND {groups}", "({member}) IS NOT TRUE",
            "count(*) FILTER (WHERE {rows} AND {member}) {op} 1", "({member}) <> ({groups})",
            "{groups} AND {name}.user_id {op} 'u1'", name=name, member=lambda: self.member(name, depth),
        )  # fmt: skip
        where = self._expand("where")
        return f"SELECT {name}.user_id FROM events AS {name}{where} GROUP BY {name}.user_id HAVING {having}"

    def member(self, table: str, depth: int) -> str:
        """A condition on the user of `table`."""
        name = self._name()
        less = max(0, depth - 1)
        tie = self._text("{name}.user_id = {table}.user_id", "{table}.user_id = {name}.user_id", name=name, table=table)
        deeper = " AND {deeper}" if depth > 0 else ""
        exists = self._text("EXISTS", "NOT EXISTS")
        return self._text(
            "{table}.user_id IN ({query_})", "{table}.user_id NOT IN ({query_})",
            "{exists} (SELECT 1 FROM events AS {name} WHERE {tie} AND {of})",
            "{exists} (SELECT * FROM events {name} WHERE {tie} AND {of}" + deeper + ")",
            "{exists} (SELECT {name}.user_id FROM ({query_}) {name} WHERE {tie}" + deeper + ")",
            "{exists} (SELECT 1 FROM events {name} WHERE {tie} AND {of} GROUP BY {name}.user_id HAVING {groups})",
            table=table, name=name, tie=tie, exists=exists, query_=lambda: self.query(less),
            of=lambda: self._of(name, self._expand("rows")), deeper=lambda: self.member(name, less),
        )  # fmt: skip

    def _of(self, table: str, condition: str) -> str:
        """The condition with a table's name before user_id, of which other tables have one too."""
        return _USER.sub(f"{table}.user_id", condition)


class _Parts(dict[str, str]):
    def __init__(self, expand: Expand, parts: dict[str, Part]) -> None:
        super().__init__()
        self._expand, self._parts = expand, parts

    def __missing__(self, name: str) -> str:
        part = self._parts.get(name)
        if part is None:
            return self._expand(name)
        return part if isinstance(part, str) else part()
