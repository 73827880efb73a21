"""Functions that definitions do not have: why not, and what to write instead."""

from segmentation.compile.parse_expressions import FUNCTIONS, PLAIN_FUNCTIONS
from segmentation.compile.problems import Position, Refused
from segmentation.compile.suggest import closest

_KNOWN = sorted({*FUNCTIONS.values(), *PLAIN_FUNCTIONS, "now", "date_trunc", "extract"})
_AVAILABLE = f"There are {', '.join(_KNOWN)}."
_WINDOW = "Use a sliding window: event_time > now() - INTERVAL '30 days'."
_LENGTH = "Compare a length of time with an interval: now() - max(event_time) < INTERVAL '60 days'."
_CHANCE = "Remove it: membership must follow from the events alone."

_UNSUPPORTED: dict[tuple[str, ...], str] = {
    ("date_bin", "time_bucket"): _WINDOW,
    ("date_trunc",): "Say in which zone, and nothing else: date_trunc('month', now() AT TIME ZONE 'UTC').",
    ("timezone",): "Write event_time AT TIME ZONE 'UTC'.",
    ("date_part", "extract", "hour", "minute", "day", "dayofweek", "isodow", "week", "month", "quarter", "year",
     "dayofmonth", "dayofyear", "weekday"):
        "Write extract(hour FROM event_time AT TIME ZONE 'UTC').",
    ("date_diff", "datediff", "date_sub", "datesub", "age", "epoch", "justify_days"): _LENGTH,
    ("any_value",): "Use arg_max(x, event_time) for the last value, mode(x) for the most frequent one.",
    ("some", "logical_or", "boolor_agg"): "Use bool_or(...).",
    ("logical_and", "booland_agg"): "Use bool_and(...).",
    ("first", "first_value"): "Use arg_min(x, event_time).",
    ("last", "last_value", "max_by", "argmax"): "Use arg_max(x, event_time).",
    ("min_by", "argmin"): "Use arg_min(x, event_time).",
    ("ifnull", "nvl", "isnull"): "Use coalesce(x, y).",
    ("nullif", "if", "iff", "iif"): "Use FILTER, or comparisons with AND and OR.",
    ("count_if", "countif", "sum_if"): "Use count(*) FILTER (WHERE ...).",
    ("mean",): "Use avg(x).",
    ("lcase",): "Use lower(x).",
    ("upper", "ucase", "initcap"): "Use lower(x), and compare with a text in lower case.",
    ("length", "char_length", "substring", "substr", "left", "right", "trim", "btrim", "replace", "concat",
     "split_part", "starts_with", "contains", "strpos", "position", "regexp_matches", "regexp_like", "regexp_replace"):
        "Use LIKE with % and _.",
    ("current_date", "current_time", "localtime", "localtimestamp", "today", "date", "time", "timestamp",
     "clock_timestamp", "transaction_timestamp", "statement_timestamp", "get_current_timestamp"):
        "Use now(), or a time with its zone: TIMESTAMPTZ '2026-01-01 00:00:00+00'.",
    ("to_timestamp", "make_timestamp", "make_timestamptz"): "Write TIMESTAMPTZ '2026-01-01 00:00:00+00'.",
    ("make_interval", "to_days", "to_hours", "to_minutes", "to_seconds", "to_weeks"): "Write INTERVAL '7 days'.",
    ("count_distinct", "approx_count_distinct"): "Use count(DISTINCT x).",
    ("array_agg", "string_agg", "list", "json_agg", "median", "stddev", "variance", "quantile", "percentile_cont",
     "percentile_disc"):
        "Use count, sum, avg, min, max, mode, arg_min or arg_max.",
    ("exp", "ln", "log", "log10", "log2", "cbrt"): "Use power(x, y), or compare with the number itself.",
    ("mod", "div"): "Use + - * / and floor(x).",
    ("sign",): "Write two comparisons: x > 0, x < 0.",
    ("trunc",): "Use floor(x), or leave it out: comparisons are exact.",
    ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "cot"): "Write it with sin, cos, tan and power.",
    ("st_distance", "st_distance_sphere", "st_dwithin", "haversine", "earth_distance"):
        "Use great_circle_distance(lat1, lon1, lat2, lon2), which is in metres.",
}  # fmt: skip
_REMEDIES = {name: remedy for names, remedy in _UNSUPPORTED.items() for name in names}
_RANDOM = ("random", "rand", "uuid", "gen_random_uuid", "setseed")


def unsupported(name: str, at: Position) -> Refused:
    word = name.lower()
    if word in _RANDOM:
        return Refused(at, f"{word} depends on chance.", _CHANCE)
    if word in _REMEDIES:
        return Refused(at, f"The function {word} is not supported.", _REMEDIES[word])
    meant = closest(word, _KNOWN)
    return Refused(at, f"There is no function {word}.", f"Did you mean {meant}?" if meant else _AVAILABLE)


_OPERATORS = {
    "%": "Use + - * / and floor(x).",
    "^": "Write power(x, 2), or the product: x * x.",
    "**": "Write power(x, 2), or the product: x * x.",
    "||": "Compare the columns one by one.",
    "~": "Use LIKE with % and _.",
    "~*": "Use ILIKE with % and _.",
    "~~": "Write LIKE.",
    "//": "Use / and compare: the quotient is exact.",
}


def unsupported_operator(sign: str, at: Position) -> Refused:
    remedy = _OPERATORS.get(sign, "Use + - * /, comparisons, LIKE, IN and BETWEEN.")
    return Refused(at, f"The operator {sign} is not supported.", remedy)
