"""Definitions as a grammar over SQL text: every form that the compiler takes, weighted by repetition.

A rule is a list of alternatives; `{name}` is another rule. Constants are small and close to what
the events carry, so that conditions turn often. Windows are multiples of the unit of a stream.
"""

import datetime
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from segmentation.compile.plan import profile_column
from segmentation.types import BIGINT, BOOLEAN, DOUBLE, TEXT, TIMESTAMPTZ, Type, numeric
from tests.oracle import grammar_anchors, grammar_calendar, grammar_mathematics, grammar_users, grammar_values
from tests.oracle.choices import one_of
from tests.oracle.grammar_sets import Sets

SCHEMA_YML = """\
events:
  region: {type: text}
  amount: {type: "numeric(12,2)"}
  quantity: {type: bigint}
  score: {type: double}
  premium: {type: boolean}
users:
  city_tier: {type: bigint}
  country: {type: text}
  credit: {type: "numeric(12,2)"}
  vip: {type: boolean}
  rating: {type: double}
  joined: {type: timestamptz}
"""

#: What SCHEMA_YML declares, and event_type: the columns whose values an event carries.
COLUMNS: dict[str, Type] = {
    "event_type": TEXT,
    "region": TEXT,
    "amount": numeric(12, 2),
    "quantity": BIGINT,
    "score": DOUBLE,
    "premium": BOOLEAN,
}

#: Those of users.
USER_COLUMNS: dict[str, Type] = {
    "city_tier": BIGINT,
    "country": TEXT,
    "credit": numeric(12, 2),
    "vip": BOOLEAN,
    "rating": DOUBLE,
    "joined": TIMESTAMPTZ,
}

#: Those of both, as a shard calls them.
ALL_COLUMNS = COLUMNS | {profile_column(name): type_ for name, type_ in USER_COLUMNS.items()}

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
START_US = int(START.timestamp()) * 1_000_000


@dataclass(frozen=True)
class Unit:
    """The grid of a stream: `micros` is one step, `name` is how an interval says it."""

    name: str
    micros: int


UNITS = [
    Unit("microseconds", 1),
    Unit("seconds", 1_000_000),
    Unit("hours", 3_600_000_000),
    Unit("days", 86_400_000_000),
]

#: Alternatives that contain a rule of the same kind, tried only while there is depth left.
NESTED: dict[str, list[str]] = {
    "rows": [
        "{rows} AND {rows}",
        "({rows} OR {rows})",
        "({window} OR {rows})",
        "NOT ({rows})",
        "({rows}) IS NOT TRUE",
        "({rows}) IS FALSE",
        "({rows}) IS NULL",
    ],
    "groups": [
        "{groups} AND {groups}",
        "{groups} AND {groups}",
        "({groups} OR {groups})",
        "({groups} OR {groups})",
        "NOT ({groups})",
        "({groups} AND NOT ({groups}))",
        "({groups}) IS NOT TRUE",
        "({groups}) IS FALSE",
        "({groups}) IS NULL",
        "({groups}) IS NOT NULL",
        "({groups}) {same} {bool}",
        "({groups}) {same} ({groups})",
    ],
}

RULES: dict[str, list[str]] = {
    "definition": ["{query}"] * 8,
    "query": [
        *["SELECT user_id FROM events{where} GROUP BY user_id{having}"] * 9,
        "SELECT DISTINCT user_id FROM events{where}",
        "SELECT e.user_id FROM events AS e{where} GROUP BY e.user_id{having}",
    ],
    "where": [*[""] * 6, " WHERE {kind}", " WHERE {row}", " WHERE {rows}"],
    "having": [*[" HAVING {groups}"] * 9, ""],
    # Conditions on rows
    "rows": ["{kind}", "{kind}", "{window}", "{window}", "{row}"],
    "window": [
        "event_time > now() - {span}",
        "event_time > now() - {span}",
        "event_time >= now() - {span}",
        "event_time BETWEEN now() - {span} AND now()",
        "event_time BETWEEN now() - {far} AND now() - {near}",
        "event_time NOT BETWEEN now() - {far} AND now() - {near}",
        "event_time >= now() - {far} AND event_time < now() - {near}",
        "event_time > now() - {far} AND event_time <= now() - {near}",
        "event_time < now() - {span}",
        "event_time <= now() - {span}",
        "now() - {span} < event_time",
        "event_time + {span} > now()",
        "now() - event_time {order} {span}",
        "event_time = now() - {span}",
        "event_time <> now() - {span}",
        "NOT (event_time > now() - {span})",
    ],
    "kind": ["event_type = {type}", "event_type = {type}", "event_type <> {type}", "event_type IN ({type}, {type})"],
    "row": [
        "{texts} {op} {region}",
        "{texts} IN ({region}, {type})",
        "{texts} NOT IN ({region}, {type})",
        "region IN ({region}, NULL)",
        "region NOT IN ({region}, NULL)",
        "{texts} {like} {pattern}",
        "event_type LIKE 'r$_%' ESCAPE '$'",
        "lower({texts}) = lower({region})",
        "lower({texts}) LIKE {pattern}",
        "{any} IS NULL",
        "{any} IS NOT NULL",
        "amount {op} {money}",
        "amount BETWEEN {money} AND {money}",
        "amount NOT BETWEEN {money} AND {money}",
        "amount IN ({money}, {money}, {money})",
        "quantity {op} {small}",
        "quantity NOT IN ({small}, {small})",
        "{numbers} {op} {numbers}",
        "amount * quantity {op} {money}",
        "amount / quantity {op} {money}",
        "amount + 1 {op} 2 * quantity",
        "amount - quantity {op} {money}",
        "-amount {op} {money}",
        "quantity / 2 {op} {money}",
        "coalesce(quantity, 0) {op} {small}",
        "coalesce(amount, quantity, 1) {op} {money}",
        "coalesce(region, event_type) = {region}",
        "{numbers} NOT BETWEEN {numbers} AND {money}",
        "{numbers} IN ({money}, {small}, NULL)",
        "amount / quantity / 2 {op} {money}",
        "amount / quantity * quantity {op} amount + 1",
        "quantity * quantity * quantity {op} {small}",
        "{texts} {op} {texts}",
        "{texts} BETWEEN 'A' AND {region}",
        "{texts} IS DISTINCT FROM {region}",
        "event_id {op} 'b'",
        "event_id LIKE 'b%'",
        "user_id {op} 'u1'",
        "premium = (amount {op} {money})",
        "(amount {op} {money}) <> (quantity {op} {small})",
        "premium IN (true, NULL)",
        "coalesce(premium, amount {op} {money})",
        "score {op} amount",
        "score / quantity {op} {real}",
        "score IN ({real}, NULL)",
        "true",
        "premium",
        "NOT premium",
        "premium = {bool}",
        "premium IS TRUE",
        "premium IS NOT TRUE",
        "premium IS FALSE",
        "score {op} {real}",
        "score IN ({real}, {real})",
        "score BETWEEN {real} AND {real}",
        "score * 2 {op} amount",
        "score + quantity {op} {real}",
        "event_time {op} {stamp}",
    ],
    # Conditions on groups
    "groups": [
        "count(*){filter} {op} {small}",
        "count(*){filter} {op} {small}",
        "count(*){filter} = 0",
        "{count} {op} {small}",
        "{count} BETWEEN {small} AND {small}",
        "{count} IN ({small}, {small})",
        "{count} {op} {count}",
        "{sum} {op} {money}",
        "{sum} {op} {money}",
        "{exact} {op} {money}",
        "{exact} {op} {exact}",
        "{exact} BETWEEN {money} AND {money}",
        "{exact} NOT BETWEEN {money} AND {money}",
        "{exact} IN ({money}, {money})",
        "{exact} IS NULL",
        "{exact} IS NOT NULL",
        "{extreme} {op} {money}",
        "{extreme} {op} {money}",
        "{lifetime} {op} {lifetime}",
        "{lifetime} {op} {sum}",
        "{quotient} {op} {money}",
        "{quotient} {op} {money}",
        "{quotient} {op} {exact}",
        "{quotient} {op} {quotient}",
        "{quotient} BETWEEN {money} AND {money}",
        "{quotient} IS NULL",
        "{last_text} = {region}",
        "{last_text} {op} {region}",
        "{last_text} IN ({region}, {type})",
        "{last_text} NOT IN ({region}, NULL)",
        "{last_text} {like} {pattern}",
        "lower({last_text}) = lower({region})",
        "{last_text} IS NULL",
        "{last_flag}",
        "NOT {last_flag}",
        "{last_flag} = {bool}",
        "{last_number} {op} {money}",
        "{real_extreme} {op} {real}",
        "{real_extreme} IS NULL",
        "max(event_time){filter} {order} now() - {span}",
        "max(event_time){filter} {order} now() - {span}",
        "max(event_time){only} {order} now() - {span}",
        "max(event_time){only} {order} now() - {span}",
        "min(event_time){only} {order} now() - {span}",
        "now() - {span} {order} max(event_time){only}",
        "max(event_time){only} {op} {stamp}",
        "max(event_time){only} {order} min(event_time){only}",
        "max(event_time){only} {order} max(event_time){only}",
        "max(event_time){only} - min(event_time){only} {order} {span}",
        "max(event_time){only} IS NULL",
        "max(event_time){only} BETWEEN now() - {far} AND now() - {near}",
        "max(event_time){only} {op} now() - {span}",
        "max(event_time){only} + {near} {order} now()",
        "max(event_time){only} - {near} {order} now() - {far}",
        "now() - max(event_time){only} {order} {span}",
        "min(event_time){filter} {order} now() - {span}",
        "min(event_time){only} + {span} {order} max(event_time){only}",
        "arg_max(event_id, event_time){only} {op} 'b'",
        "max({texts}){filter} {op} {region}",
        "{least}(event_id){only} < 'b'",
        "{real_extreme} {op} {lifetime}",
        "{real_extreme} * 2 {op} {sum}",
        "{real_extreme} / {count} {op} {real}",
        "coalesce({real_extreme}, 0) + 1 {op} {real}",
        "{exact} IS DISTINCT FROM {money}",
        "{exact} IS NOT DISTINCT FROM {exact}",
        "{last_text} {op} {last_text}",
        "{last_flag} IS NOT TRUE",
        "{last_flag} IS NULL",
        "{last_flag} {same} {last_flag}",
        "{count} {op} 0.5 * {count}",
    ],
    "count": [*["count(*){filter}"] * 3, *["count({any}){filter}"] * 3, *["count({product}){filter}"] * 3],
    "sum": [*["sum({numbers}){filter}"] * 8, *["sum({product}){filter}"] * 2],
    "product": [
        "amount * quantity", "amount * 2", "amount - quantity", "coalesce(amount, 0)", "-quantity", "2",
        "coalesce(quantity, 0.5)", "coalesce(quantity, 0) * 0.25",
    ],
    "exact": [
        "{sum}",
        "coalesce({sum}, 0)",
        "coalesce({sum}, 0)",
        "coalesce({sum}, 1.5)",
        "2 * coalesce({sum}, 0)",
        "{sum} + {sum}",
        "{sum} - {sum}",
        "{sum} - 2 * {count}",
        "coalesce({sum}, 0) - coalesce({sum}, 0)",
        "-{sum}",
        "{count} + {count}",
        "{count} * {count}",
        "{sum} * {count}",
    ],
    "quotient": [
        "{sum} / {count}",
        "{sum} / {count}",
        "{sum} / {sum}",
        "{count} / {count}",
        "avg({numbers}){filter}",
        "avg({numbers}){filter}",
        "coalesce({sum} / {count}, 0)",
        "coalesce(avg({numbers}){filter}, -1)",
        "({sum} + 1) / ({count} - 1)",
        "{sum} / 3",
        "100 * {count} / {count}",
        "{sum} / {count} + avg({numbers}){filter}",
        "{sum} / {count} / 2",
        "avg({product}){filter}",
        "avg({numbers}){filter} * avg({numbers}){filter}",
    ],
    "extreme": ["{least}({numbers}){filter}", "{least}({numbers}){only}", "{least}({product}){filter}"],
    "lifetime": ["{least}({numbers}){only}", "{least}({product}){only}", "{last_number}"],
    "real_extreme": ["{least}(score){filter}", "{least}(score){only}"],
    "last_text": [
        *["{last}({texts}, event_time){only}"] * 4,
        "{last}(lower({texts}), event_time){only}",
        "{last}(coalesce({texts}, 'ca'), event_time){only}",
        "arg_max({texts}, event_time) FILTER (WHERE event_time > now() - {span})",
        "arg_max({texts}, event_time) FILTER (WHERE {kind} AND event_time > now() - {span})",
    ],
    "last_number": [
        *["{last}({numbers}, event_time){only}"] * 4,
        "{last}({product}, event_time){only}",
        "arg_max({numbers}, event_time) FILTER (WHERE event_time > now() - {span})",
    ],
    "last_flag": [
        *["{last}(premium, event_time){only}"] * 3,
        "{last}(amount > 1, event_time){only}",
        "arg_max(premium, event_time) FILTER (WHERE event_time > now() - {span})",
    ],
    "filter": [
        "", *[" FILTER (WHERE {rows})"] * 3, *[" FILTER (WHERE {kind} AND {window})"] * 3,
        " FILTER (WHERE event_type = 'buy' AND event_type = {type})",
    ],
    "only": ["", "", " FILTER (WHERE {kind})", " FILTER (WHERE {row})"],
    # Words
    "op": ["=", "<>", "<", "<=", ">", ">="],
    "same": ["=", "<>"],
    "order": ["<", "<=", ">", ">="],
    "like": ["LIKE", "NOT LIKE", "ILIKE"],
    "least": ["min", "max"],
    "last": ["arg_max", "arg_min"],
    "texts": ["region", "event_type"],
    "numbers": ["amount", "amount", "quantity"],
    "any": ["region", "amount", "quantity", "score", "premium"],
    "type": ["'buy'", "'view'", "'re_turn'"],
    "region": ["'CA'", "'ca'", "'O''Hare'", "'Ünï'", "'buy'"],
    "pattern": ["'C%'", "'c_'", "'%A'", "'%n%'", "'_%'", "'%Ü%'", "''"],
    "small": ["0", "1", "1", "2", "3", "-1", "1.5"],
    "money": ["0", "1", "2.5", "-1.5", "3.3", "0.01", "5", "3.335"],
    "real": ["0.5", "0.1", "1", "-0.5", "0", "0.3"],
    "bool": ["true", "false"],
    "span": ["INTERVAL '{steps} {unit}'"],
    "near": ["INTERVAL '1 {unit}'", "INTERVAL '2 {unit}'"],
    "far": ["INTERVAL '3 {unit}'", "INTERVAL '5 {unit}'"],
    "steps": ["1", "2", "3", "5"],
}

RULES |= grammar_users.RULES
for _part in (grammar_values, grammar_mathematics, grammar_anchors, grammar_calendar):
    RULES |= _part.RULES
    for _rule, _alternatives in _part.MORE.items():
        RULES[_rule] += _alternatives

#: TIDEGATE_FOCUS=distinct,mode draws alternatives with one of these pieces of text far more often.
FOCUS = [piece for piece in os.environ.get("TIDEGATE_FOCUS", "").split(",") if piece]
for _rule, _alternatives in RULES.items():
    RULES[_rule] = _alternatives + 20 * [each for each in _alternatives if any(piece in each for piece in FOCUS)]
grammar_users.QUERIES += 20 * [each for each in grammar_users.QUERIES if any(piece in each for piece in FOCUS)]

SLOT = re.compile(r"{(\w+)}")


@st.composite
def definition(
    draw: st.DrawFn, unit: Unit, segments: Sequence[str] = (), depth: int = 2, of_users: bool = False,
    start: datetime.datetime = START,
) -> str:  # fmt: skip
    """The SQL text of one definition, which may read `segments`; its fixed times are after `start`.
    of_users: one about users."""

    def expand(rule: str, left: int) -> str:
        if rule == "unit":
            return unit.name
        if rule in ("stamp", "local_stamp"):
            at = start + datetime.timedelta(microseconds=draw(st.integers(0, 20)) * unit.micros)
            if rule == "local_stamp":
                return f"TIMESTAMP '{at.replace(tzinfo=None).isoformat(' ')}'"
            return f"TIMESTAMPTZ '{at.isoformat(' ')}'"
        if rule == "clock_part":
            often = ["minute"] * (unit.name != "days")
            return draw(one_of((*grammar_calendar.CLOCK_PARTS, *often)))
        nested = NESTED.get(rule, []) if left else []
        chosen = draw(one_of((*RULES[rule], *nested * (4 if rule == "groups" else 1))))
        deeper = left - (chosen in nested)
        return SLOT.sub(lambda slot: expand(slot[1], deeper), chosen)

    if not of_users and draw(st.integers(0, 2)):
        return expand("definition", depth)
    sets = Sets(draw, lambda rule: expand(rule, draw(st.integers(0, 1))), segments)
    if of_users:
        return sets.of_users(draw(st.integers(0, 1)))
    return sets.query(draw(st.integers(1, 3))) if draw(st.integers(0, 4)) else sets.bands()
