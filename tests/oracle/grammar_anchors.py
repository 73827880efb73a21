"""Aggregates over events before and after others of the same user, and queries as values.

Texts with `events.user_id` in them stand where the table outside is called events.
"""

_TIED = "FROM events a WHERE a.user_id = events.user_id"

#: Rules of their own.
RULES: dict[str, list[str]] = {
    "anchored": [
        *["SELECT user_id FROM events{where} GROUP BY user_id HAVING {agroup}"] * 6,
        *["SELECT user_id FROM events WHERE {arow} GROUP BY user_id{having}"] * 2,
        "SELECT user_id FROM events WHERE {arow} GROUP BY user_id HAVING {agroup}",
        "SELECT DISTINCT user_id FROM events WHERE {arow}",
    ],
    # A table of users joined to events: `f` has one row per user, perhaps not for every user.
    "anchored_join": [
        *["{afirst} SELECT e.user_id FROM events e {ajoin} WHERE {jrow} GROUP BY e.user_id{having}"] * 3,
        *["{afirst} SELECT e.user_id FROM events e {ajoin} GROUP BY e.user_id HAVING {jgroup}"] * 3,
        "{afirst} SELECT e.user_id FROM events e {ajoin} WHERE {jrow} GROUP BY e.user_id, f.since, f.n "
        "HAVING {jgrouped}",
        "{afirst} SELECT e.user_id FROM events e {ajoin} WHERE {jrow} AND f.since {order} now() - {span} "
        "GROUP BY e.user_id{having}",
        "{afirst} SELECT e.user_id FROM events e JOIN f ON e.user_id = f.user_id AND {jrow}",
        "{afirst}, g AS (SELECT e.user_id, {least}(e.event_time) AS later FROM events e JOIN f USING (user_id) "
        "WHERE {jrow} GROUP BY e.user_id) SELECT g.user_id FROM f JOIN g USING (user_id) WHERE g.later - f.since "
        "{order} {span}",
        "{afirst}, g AS (SELECT user_id, {least}(event_time) AS later FROM events WHERE {rows} GROUP BY user_id) "
        "SELECT e.user_id FROM events e JOIN f USING (user_id) {aleft}JOIN g USING (user_id) WHERE {jrow} "
        "AND e.event_time {order} g.later GROUP BY e.user_id",
        "{afirst} SELECT user_id FROM events WHERE event_time {order} (SELECT since FROM f WHERE f.user_id = "
        "events.user_id) GROUP BY user_id{having}",
        "{afirst} SELECT f.user_id FROM f WHERE (SELECT count(*) FROM events e WHERE e.user_id = f.user_id AND {jrow}) "
        "{op} {small}",
        "{afirst} SELECT user_id FROM (SELECT e.user_id, event_type, event_time, since, n FROM events e JOIN f USING "
        "(user_id)) x WHERE event_time {order} since AND ({kind} OR n {op} {small}) GROUP BY user_id",
    ],
    "afirst": [
        *["WITH f AS (SELECT user_id, {least}(event_time) AS since, {last}({texts}, event_time) AS word, "
          "{sum} AS total, count(*) AS n, max(amount) / 2 AS half FROM events{where} GROUP BY user_id)"] * 4,
        "WITH f AS (SELECT user_id, {least}(event_time){filter} AS since, min(region) AS word, {sum} AS total, {count} "
        "AS n, avg(amount) AS half FROM events GROUP BY user_id)",
    ],
    "ajoin": ["JOIN f USING (user_id)", "JOIN f ON f.user_id = e.user_id", "LEFT JOIN f ON e.user_id = f.user_id"],
    "aleft": ["", "LEFT "],
    "jrow": [
        *["{kind} AND e.event_time {order} f.since"] * 3,
        "e.event_time {op} f.since",
        "e.event_time BETWEEN f.since - {span} AND f.since + {near}",
        "({kind} OR e.event_time {order} f.since)",
        "(e.event_time {order} f.since OR f.since IS NULL)",
        "NOT (e.event_time {order} f.since AND f.word = {region})",
        "e.amount {op} f.total",
        "e.amount {op} f.half",
        "coalesce(f.n, 0) {op} {small}",
        "e.quantity {op} f.n",
        "e.region = f.word",
        "f.word IS NULL",
    ],
    "jgroup": [
        "count(*) FILTER (WHERE {jrow}) {op} {small}",
        "count(*) FILTER (WHERE {jrow}) {op} {small}",
        "sum(e.amount) FILTER (WHERE {jrow}) {op} {money}",
        "arg_max(e.region, e.event_time) FILTER (WHERE {jrow}) = {region}",
        "max(e.event_time) FILTER (WHERE {kind}) {order} max(f.since)",
        "count(DISTINCT e.region) FILTER (WHERE {jrow}) {op} {small}",
        "{jgroup} AND {jgroup}",
        "({jgroup} OR {jgroup})",
        "NOT ({jgroup})",
    ],
    "jgrouped": [
        "{jgroup}", "min(e.event_time) {order} f.since", "count(*) {op} f.n",
        "max(e.event_time) - f.since {order} {span}",
        "f.since {order} now() - {span} AND count(*) {op} {small}",
    ],
    "agroup": [
        *["{acount} {op} {small}"] * 4,
        "{agroup} AND {groups}",
        "({agroup} OR {groups})",
        "NOT ({agroup})",
        "{acount} {op} {acount}",
        "{acount} {op} {count}",
        "sum({numbers}){afilter} {op} {money}",
        "coalesce(sum({numbers}){afilter}, 0) {op} {sum}",
        "avg({numbers}){afilter} {op} {money}",
        "{least}({numbers}){afilter} {op} {money}",
        "{least}({numbers}){afilter} {op} {least}({numbers}){afilter}",
        "{least}({numbers}){afilter} IS NULL",
        "{least}(score){afilter} {op} {lifetime}",
        "{least}({texts}){afilter} {op} {last_text}",
        "{last}({texts}, event_time){afilter} {op} {region}",
        "{last}({texts}, event_time){afilter} = {last_text}",
        "{last}({numbers}, event_time){afilter} {op} {money}",
        "{last}(premium, event_time){afilter}",
        "bool_or(premium){afilter}",
        "bool_and(amount > 1){afilter} IS NOT TRUE",
        "mode({texts}){afilter} = {region}",
        "count(DISTINCT {texts}){afilter} {op} {small}",
        "sum(DISTINCT quantity){afilter} {op} {money}",
        "max(event_time){afilter} {order} now() - {span}",
        "min(event_time){afilter} {order} now() - {span}",
        "max(event_time){afilter} - min(event_time){afilter} {order} {span}",
        "max(event_time){afilter} IS NULL",
        # Queries as values among groups
        "count(*){filter} {op} {afigure}",
        "{exact} {op} {afigure}",
        "{last_text} = {aword}",
        "max(event_time){filter} {order} {amoment}",
        "max(event_time){filter} - {amoment} {order} {span}",
        "{amoment} {order} now() - {span}",
        "{aword} IS NULL",
        "{aflag}",
    ],
    "acount": ["count(*){afilter}", "count(*){afilter}", "count({any}){afilter}"],
    "afilter": [" FILTER (WHERE {arow})"],
    # Is there an event before this one, after it, or with more of something?
    "compared": [
        f"{not_}EXISTS (SELECT 1 {_TIED.replace(' a ', ' x ').replace('a.', 'x.')} AND {{{condition}}} AND {than})"
        for not_ in ("", "NOT ")
        for condition in ("kind", "kind", "window", "row")
        for than in (
            "x.event_time {order} events.event_time", "events.event_time {order} x.event_time + {near}",
            "x.event_time {order} events.event_time - {span}", "x.amount {order} events.amount",
            "events.region {order} region", "quantity * 2 {order} events.amount",
        )
    ],
    "arow": [
        *["{kind} AND event_time {order} {amoment}"] * 4,
        "event_time {op} {amoment}",
        "{amoment} {order} event_time",
        "{window} AND event_time {order} {amoment}",
        "{kind} AND {compared}",
        "{compared} AND {compared}",
        "({compared} OR {kind})",
        "NOT {compared}",
        "({rows} OR event_time {order} {amoment})",
        "({window} OR event_time {order} {amoment})",
        "NOT ({kind} AND event_time {order} {amoment})",
        "(event_time {order} {amoment}) IS NOT TRUE",
        "event_time BETWEEN {amoment} - {span} AND {amoment}",
        "event_time {order} {amoment} + {near}",
        "event_time - {amoment} {order} {span}",
        "event_time > {amoment} AND event_time < {amoment}",
        "amount {op} {afigure}",
        "amount * 2 {op} {afigure} + 1",
        "quantity {op} {afigure}",
        "{texts} = {aword}",
        "lower({texts}) <> {aword}",
        "premium = {aflag}",
        "({kind}) = {aflag}",
        "score {op} {areal}",
        "{afigure} IS NULL",
    ],
    "amoment": [
        *[f"(SELECT {{least}}(a.event_time) {_TIED}{{ain}})"] * 6,
        f"(SELECT {{least}}(a.event_time) + {{near}} {_TIED}{{ain}})",
        f"(SELECT {{least}}(a.event_time){{filter}} {_TIED})",
        f"(SELECT {{least}}(a.event_time) {_TIED} AND {{kind}} AND a.event_time {{order}} "
        "(SELECT {least}(b.event_time) FROM events b WHERE b.user_id = a.user_id AND {kind}))",
    ],
    "ain": ["", " AND {kind}", " AND {kind}", " AND {rows}", " AND {window}"],
    "afigure": [
        f"(SELECT count(*) {_TIED}{{ain}})", f"(SELECT sum(a.amount) {_TIED}{{ain}})",
        f"(SELECT max(a.amount) {_TIED}{{ain}})", f"(SELECT min(a.quantity){{filter}} {_TIED}{{ain}})",
        f"(SELECT avg(a.amount) {_TIED}{{ain}})", f"(SELECT {{last}}(a.quantity, a.event_time) {_TIED}{{ain}})",
        f"(SELECT count(DISTINCT a.region) {_TIED}{{ain}})", f"(SELECT coalesce(sum(a.amount), 0) {_TIED}{{ain}})",
    ],
    "aword": [f"(SELECT {{last}}(a.region, a.event_time) {_TIED}{{ain}})", f"(SELECT mode(a.region) {_TIED}{{ain}})"],
    "aflag": [f"(SELECT bool_or(a.premium) {_TIED}{{ain}})", f"(SELECT count(*) > 1 {_TIED}{{ain}})"],
    "areal": [f"(SELECT max(a.score) {_TIED}{{ain}})", f"(SELECT {{last}}(a.score, a.event_time) {_TIED}{{ain}})"],
}

#: Alternatives of rules of the grammar.
MORE: dict[str, list[str]] = {
    "query": ["{anchored}", "{anchored}"],
    "definition": ["{anchored_join}"],
}
