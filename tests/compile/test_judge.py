"""Random conditions with few parentheses: what is understood is what DuckDB understands.

The generator leaves parentheses out as it likes, so that the precedence of operators decides. A text
that binds must give the same users in DuckDB as its canonical form, in which everything is in
parentheses. Constants round trip exactly, so this is about structure, sugar and names.
"""

from datetime import timedelta

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from segmentation.compile import written
from segmentation.compile.bind import bind
from segmentation.compile.problems import DefinitionErrors
from tests.compile.judge import START, Judge
from tests.compile.shop import SCHEMA

JUDGE = Judge(rows=80)
COMPARISONS = st.sampled_from(("=", "<>", "!=", "<", "<=", ">", ">="))
SPANS = st.sampled_from(
    ("INTERVAL '7 days'", "INTERVAL '90' MINUTE", "'2 weeks'::interval", "INTERVAL '1 day 12 hours'",
     "3 * INTERVAL '1 hour'", "INTERVAL '1 week' - INTERVAL '1 day'", "- INTERVAL '-36 hours'")
)  # fmt: skip


def wrapped(text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(text, st.integers(0, 4)).map(lambda pair: f"({pair[0]})" if pair[1] == 0 else pair[0])


def joined(*parts: st.SearchStrategy[str] | str) -> st.SearchStrategy[str]:
    return wrapped(st.tuples(*(st.just(each) if isinstance(each, str) else each for each in parts)).map(" ".join))


def numbers(leaves: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            joined(inner, st.sampled_from("+-*/"), inner),
            joined("-", inner),
            st.tuples(inner, inner).map(lambda pair: f"coalesce({pair[0]}, {pair[1]})"),
        ),
        max_leaves=4,
    )


def conditions(
    number: st.SearchStrategy[str], text: st.SearchStrategy[str], truth: st.SearchStrategy[str], time: str
) -> st.SearchStrategy[str]:
    constant = st.sampled_from(("0", "1", "2.5", "-3", "12.50"))
    word = st.sampled_from(("'a'", "'x'", "'A%'", "'%a%'", "'_'"))
    not_ = st.sampled_from(("", "NOT "))
    leaf = st.one_of(
        truth,
        joined(number, COMPARISONS, number),
        joined(number, COMPARISONS, constant),
        joined(text, COMPARISONS, word),
        st.tuples(number, not_, constant, number).map(lambda p: f"{p[0]} {p[1]}BETWEEN {p[2]} AND {p[3]}"),
        st.tuples(number, not_, constant, constant).map(lambda p: f"{p[0]} {p[1]}IN ({p[2]}, {p[3]}, NULL)"),
        st.tuples(text, not_, st.sampled_from(("LIKE", "ILIKE")), word).map(lambda p: f"{p[0]} {p[1]}{p[2]} {p[3]}"),
        st.tuples(number, not_).map(lambda p: f"{p[0]} IS {p[1]}NULL"),
        st.tuples(text, not_, word).map(lambda p: f"{p[0]} IS {p[1]}DISTINCT FROM {p[2]}"),
        st.tuples(truth, not_, st.sampled_from(("TRUE", "FALSE"))).map(lambda p: f"{p[0]} IS {p[1]}{p[2]}"),
        st.tuples(COMPARISONS, SPANS).map(lambda p: f"{time} {p[0]} now() - ({p[1]})"),
        st.tuples(COMPARISONS, SPANS).map(lambda p: f"now() - {time} {p[0]} {p[1]}"),
        st.tuples(COMPARISONS, SPANS).map(lambda p: f"{time} + ({p[1]}) {p[0]} current_timestamp"),
    )
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            joined(inner, "AND", inner), joined(inner, "OR", inner), joined("NOT", inner), joined(inner, "IS NOT TRUE"),
            joined(inner, "=", inner),
        ),
        max_leaves=6,
    )  # fmt: skip


COLUMNS = conditions(
    numbers(st.sampled_from(("quantity", "amount", "1", "2.5", "events.quantity"))),
    st.sampled_from(("region", "url", "lower(region)", "coalesce(region, url)", "user_id")),
    st.sampled_from(("flag", "NOT flag", "coalesce(flag, FALSE)")),
    "event_time",
)
AGGREGATES = conditions(
    numbers(
        st.sampled_from(
            ("count(*)", "sum(quantity)", "max(amount)", "count(region) FILTER (WHERE flag)", "min(quantity - 1)",
             "sum(amount) FILTER (WHERE event_time > now() - INTERVAL '20 days')", "2")
        )
    ),
    st.sampled_from(("max(region)", "arg_max(user_id, event_time)", "min(lower(url)) FILTER (WHERE quantity > 1)")),
    st.sampled_from(("count(*) > 3", "NOT max(quantity) > 5", "(sum(amount) < 10)")),
    "max(event_time)",
)  # fmt: skip


def agree(sql: str) -> None:
    try:
        definition = bind("x", "x.sql", sql, SCHEMA)
    except DefinitionErrors as errors:
        event(f"refused: {errors.problems[0].reason[:40]}")
        return
    event("understood")
    understood = written.definition(definition)
    for days in (15, 33):
        now = START + timedelta(days=days)
        assert JUDGE.users(sql, now) == JUDGE.users(understood, now)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(COLUMNS)
def test_conditions_on_events(condition: str) -> None:
    agree(f"SELECT user_id FROM events WHERE {condition} GROUP BY user_id")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(AGGREGATES)
def test_conditions_on_aggregates(condition: str) -> None:
    agree(f"SELECT user_id FROM events GROUP BY user_id HAVING {condition}")
