"""Equivalent spellings share: a condition that is written differently adds no cell and no signal."""

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from segmentation.compile.bind import bind_each
from segmentation.compile.lower import lower
from segmentation.compile.plan import Plan
from segmentation.compile.problems import DefinitionErrors
from segmentation.events.schema import load_schema
from tests.compile.spellings import respelled
from tests.oracle.grammar import SCHEMA_YML, UNITS, Unit, definition
from tests.oracle.running import EXAMPLES

SCHEMA = load_schema(SCHEMA_YML)


GROUPS = "SELECT user_id FROM events GROUP BY user_id HAVING"


def size(plan: Plan) -> tuple[int, ...]:
    return len(plan.linears), len(plan.registers), len(plan.bags), len(plan.distincts), len(plan.signals)


def planned(**texts: str) -> Plan:
    """Raises DefinitionErrors."""
    found, problems = bind_each({f"{name}.sql": text for name, text in texts.items()}, SCHEMA)
    if problems:
        raise DefinitionErrors(problems)
    return lower(found, SCHEMA)


def check(first: str, second: str) -> None:
    alone, together = planned(a=first), planned(a=first, b=second)
    roots = dict(zip(together.names, together.roots))
    told = f"\n{first}\n{second}\n{alone.signals}\n{together.signals}\n{together.linears}\n{together.bags}"
    assert size(together) == size(alone), told
    for name, root in roots.items():
        assert root == roots[("b" if name[0] == "a" else "a") + name[1:]], told


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("amount > 5 AND region = 'x'", "'x' = region AND NOT (amount <= 10 - 2.50 * 2)"),
        ("amount BETWEEN 1 AND 2", "NOT (amount < 1 OR 2 < amount)"),
        ("amount * quantity > quantity + 1", "1 + quantity < quantity * amount"),
        ("quantity IN (1, 2, 3)", "quantity IN (3, 1, 2.0, 1)"),
        ("event_time > now() - INTERVAL '2 days'", "NOT now() - INTERVAL '48 hours' >= event_time"),
        ("event_type >= event_type", "NOT event_type < event_type"),
        ("(event_type = 'buy') IS NULL", "(NOT event_type <> 'buy') IS NULL"),
        ("amount / quantity > 2", "NOT 2 >= amount / quantity"),
        ("premium = (amount > 1)", "(NOT amount <= 1) = premium"),
    ],
)
def test_spellings(first: str, second: str) -> None:
    """In WHERE, and in a FILTER of what is added, compared, picked and kept."""
    for text in (
        "SELECT user_id FROM events WHERE {}",
        f"{GROUPS} sum(amount) FILTER (WHERE {{}}) / count(region) > sum(quantity)",
        f"{GROUPS} mode(region) FILTER (WHERE {{}}) = arg_min(region, event_time)",
        f"{GROUPS} max(amount) FILTER (WHERE {{}}) < max(score)",
        f"{GROUPS} bool_or({{}}) AND user_id IN (SELECT user_id FROM events WHERE {{}})",
    ):
        check(text.replace("{}", first), text.replace("{}", second))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("max(event_time) - min(event_time) > INTERVAL '1 day'",
         "-INTERVAL '24 hours' > min(event_time) - max(event_time)"),
        ("coalesce(max(score), 1) < coalesce(min(score), 2)", "NOT coalesce(min(score), 2) <= coalesce(max(score), 1)"),
        ("bool_or(region = 'x') AND count(*) > 1", "NOT (2 > count(*) OR NOT bool_or('x' = region))"),
        ("sum(amount) / count(*) >= 1.5", "1.50 <= sum(amount) / count(*)"),
        ("sum(amount) > 2 * sum(quantity)", "sum(quantity) * 2 < sum(amount)"),
        ("user_id IN (SELECT user_id FROM events WHERE premium) AND count(*) > 1",
         "NOT (1 >= count(*) OR user_id NOT IN (SELECT user_id FROM events WHERE premium))"),
    ],
)  # fmt: skip
def test_spellings_of_aggregates(first: str, second: str) -> None:
    check(f"{GROUPS} {first}", f"{GROUPS} {second}")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(UNITS))
def test_another_spelling_adds_nothing(data: st.DataObject, unit: Unit) -> None:
    first = data.draw(definition(unit))
    second = data.draw(respelled(first))
    event("the same text" if first == second else "another text")
    try:
        planned(a=first, b=second)
    except DefinitionErrors:
        assume(False)
    check(first, second)
