"""The sections of docs/sql.md: what is said in words, and which definitions of the corpus are shown."""

from dataclasses import dataclass

from tests.corpus import rows


@dataclass(frozen=True)
class Section:
    """rows: a fixture belongs to the last section of which it uses a row; examples: names in the corpus."""

    title: str
    text: str
    rows: tuple[str, ...]
    examples: tuple[str, ...]


SECTIONS = [
    Section(
        "A definition",
        """One query that gives user ids: `SELECT user_id FROM events`, with `WHERE` for events, `GROUP BY user_id`, and
        `HAVING` for users. A user is in while the query, with `now()` being that instant, would return the id. Comments
        and capitals do not matter; NULL is SQL's: a comparison with it is not true, nor is its negation.""",
        (),
        ("seen_at_all", "buyers"),
    ),
    Section(
        "Event filters",
        """Conditions on one event, in `WHERE` and in `FILTER`: comparisons, `IN`, `BETWEEN`, `LIKE`, `IS NULL`,
        `lower`, `coalesce`, arithmetic, with `AND`, `OR` and `NOT` in any order.""",
        (rows.FILTER,),
        ("pacific_coast_any_spelling", "orders_with_odd_data", "delivered_late"),
    ),
    Section(
        "Fixed ranges of time",
        "Instants with their zone. A range that ends in the future ends there, by itself.",
        (rows.RANGE,),
        ("first_quarter_spend", "signed_up_in_january", "spent_in_the_sale_and_lately"),
    ),
    Section(
        "The calendar of a place",
        """`date_trunc` and `extract` of a time `AT TIME ZONE` a place, which is always named. This month, yesterday and
        the like begin and end when they do there, also where clocks are changed. Conditions on `now()` alone hold from,
        or until, an instant.""",
        (rows.CALENDAR,),
        ("active_this_month_in_kolkata", "seen_yesterday_in_new_york", "weekend_visitors", "orders_of_this_month"),
    ),
    Section(
        "Sliding windows",
        """`now()` less an interval of weeks to microseconds. An event leaves a `>` window at its time plus the
        interval, a `>=` window one microsecond later, though nothing arrives then.""",
        (rows.SLIDING,),
        ("spent_100_in_30_days", "weekly_regulars", "returned_after_a_pause", "silent_for_10_days"),
    ),
    Section(
        "Aggregate conditions",
        """`count`, `sum`, `avg` (each also of `DISTINCT` values), `min`, `max`, `arg_min` and `arg_max` by
        `event_time` (first and last value), `mode`, `bool_or`, `bool_and`, `every`; each with `FILTER`. Over nothing
        `count` is 0 and the others are NULL.""",
        (rows.AGGREGATE,),
        ("spent_200_ever", "moved_from_desktop_to_mobile", "many_different_pages", "usual_device_is_mobile",
         "never_a_gift"),
    ),
    Section(
        "Arithmetic over aggregates",
        """`+ - * /` and `coalesce` between aggregates. Exact numbers are never rounded; a division by zero is NULL.""",
        (rows.ARITHMETIC,),
        ("net_spend_after_refunds", "average_order_by_hand", "spending_doubled", "orders_per_login"),
    ),
    Section(
        "Functions of numbers, and distance",
        "See [mathematics.md](mathematics.md). `great_circle_distance` takes degrees and gives metres.",
        (rows.DISTANCE, rows.FUNCTIONS),
        ("near_the_branch_this_week", "last_seen_near_munich", "nearest_visit"),
    ),
    Section(
        "Queries of queries",
        """In `FROM`, `WITH`, `IN` and `EXISTS`, joined on `user_id`, with `UNION`, `INTERSECT` and `EXCEPT` between
        them, to any depth.""",
        (rows.SETS,),
        ("campaign_audience", "both_windows_of_two_tables", "totals_of_a_table"),
    ),
    Section(
        "Absence",
        """`= 0`, `NOT IN`, `NOT EXISTS`, `EXCEPT`, `LEFT JOIN ... IS NULL`, `users LEFT JOIN events` with
        `count(e.event_id) = 0`. Time alone makes such a condition true.""",
        (),
        ("california_without_purchase", "logged_in_but_never_bought", "viewed_but_not_in_a_week", "left_join_nobody",
         "cart_of_yesterday"),
    ),
    Section(
        "Profiles",
        """`FROM users` has everybody who has had an event or has a profile; `JOIN users USING (user_id)` puts the
        columns of the latest profile beside events. They are declared under `users:` in `schema.yml`. `users u
        LEFT JOIN events e ON ... GROUP BY u.user_id` has groups of events that may be empty: `count(e.event_id)` is 0
        then; `count(*)` is 1, as in every database, since the user's own row is there. Columns of both are compared in
        one condition, too; when the profile changes, all of the user's events are judged anew.
        Without a profile they are NULL.""",
        (rows.PROFILES,),
        ("large_cities", "vips_without_purchase", "spent_more_than_the_credit", "orders_above_the_credit",
         "vip_lookers_of_two_weeks", "vips_without_a_purchase_in_two_weeks"),
    ),
    Section(
        "Before and after events of one's own",
        """A query as a value, tied to the user: `(SELECT min(s.event_time) FROM events s WHERE s.user_id = e.user_id
        AND ...)`, or a column of a table of users that is joined.""",
        (rows.ANCHORED,),
        ("pages_before_the_first_purchase", "ten_days_from_first_visit_to_purchase", "source_before_the_first_purchase",
         "spent_after_the_last_ticket", "above_the_own_average"),
    ),
    Section(
        "Segments as tables",
        """`segments.other` holds the users of the definition in `other.sql`, at the same instant;
        `segments."other/band"` those of one of its bands. The table of a definition with
        bands has a column `band`, too: `FROM segments.recency WHERE band = '30-60'`.
        Definitions that read each other in a circle are refused.""",
        (rows.SEGMENTS,),
        ("spenders_gone_quiet", "exactly_one_of_two", "heavy_lookers_among_buyers", "warm_spenders",
         "a_month_or_two_ago"),
    ),
    Section(
        "Bands",
        """A definition that selects `user_id, CASE ... END AS band` makes a segment of each band. A user is in the
        first band whose condition is true, in none where it says `THEN NULL` or no condition is true; a move from
        one into another is one step.""",
        (rows.BANDS,),
        ("recency", "orders", "average_basket", "device_of_today"),
    ),
]  # fmt: skip

#: Sections of what is refused, each with the title of its first fixture; in the order of the file.
REFUSED = [
    ("The file and its words", "several problems at once, in order"),
    ("WITH", "WITH"),
    ("What is selected", "no FROM"),
    ("Tables", "another table"),
    ("Clauses", "ORDER BY and LIMIT"),
    ("Names", "an unknown column"),
    ("Writing", "a text that does not end"),
    ("Conditions and operators", "a number is no condition"),
    ("Functions", "functions that are not there"),
    ("Aggregates", "aggregates that are not there"),
    ("Time", "a month"),
    ("Constants and casts", "a cast of a column"),
    ("Queries inside of queries", "EXISTS that is not tied, or only to itself"),
    ("Bands and the rest", "bands without groups"),
]
