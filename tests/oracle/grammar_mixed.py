"""Columns of events compared, or calculated, with columns of the profile: rows judged anew when the profile changes."""

#: `mixed` is a condition on a row of events beside users.
RULES: dict[str, list[str]] = {
    "mixed": [
        *["{mix}", "{kind} AND {mix}"] * 6, "({window} AND {mix})", "({mix} OR {own})", "({mix} OR {window})",
        "NOT ({mix} AND {kind})", "({mix}) IS NULL", "({mix} OR {own}) IS NOT TRUE", "({mix}) = vip",
        "({mix}) <> premium", "{mix} AND {mix}",
    ],
    "mix": [
        *["amount {op} credit", "region = country"] * 2, "quantity {op} city_tier", "amount {op} credit * 2",
        "quantity * city_tier {op} {money}", "amount - credit {op} {money}", "NOT (amount {op} credit)",
        "amount BETWEEN city_tier AND credit", "credit {op} amount / quantity", "score {op} rating",
        "rating {op} amount", "event_time {order} joined", "event_time - joined {order} {span}",
        "event_time {order} joined - {span}", "lower(region) <> country", "coalesce(region, country) = {region}",
        "coalesce(quantity, city_tier) {op} {small}", "region IS DISTINCT FROM country",
        "greatest(quantity, city_tier) {op} {small}", "abs(amount - credit) {op} {money}",
    ],
    "mixed_group": [
        *["count(*) FILTER (WHERE {mixed}) {op} {small}"] * 3, "sum(amount) FILTER (WHERE {mixed}) {op} {money}",
        "count(DISTINCT region) FILTER (WHERE {mixed}) {op} {small}", "bool_or({mixed})", "bool_and({mixed})",
        "{last}(region, event_time) FILTER (WHERE {mixed}) = {region}", "count(amount - credit) {op} {small}",
        "max(event_time) FILTER (WHERE {mixed}) {order} now() - {span}", "bool_or(premium AND vip)", "{groups}",
        "mode(region) FILTER (WHERE {mixed}) = max(country)", "avg(amount) FILTER (WHERE {mixed}) {op} max(credit)",
    ],
    "is_there": ["EXISTS", "NOT EXISTS"],
    "not_in": ["IN", "NOT IN"],
    "mixed_of_x": [
        "x.amount {op} credit", "vip", "x.region = country AND x.{kind}", "(x.quantity {op} city_tier OR vip)",
    ],
}  # fmt: skip

#: Whole queries. {one}, {two}: names for tables.
QUERIES = [
    *["SELECT user_id FROM events JOIN users USING (user_id) WHERE {mixed} GROUP BY user_id{having}"] * 2,
    *["SELECT user_id FROM events JOIN users USING (user_id) GROUP BY user_id HAVING {mixed_group}"] * 2,
    "SELECT user_id FROM events JOIN users USING (user_id) WHERE {mixed}",
    "SELECT user_id FROM events LEFT JOIN users USING (user_id) WHERE {beside} GROUP BY user_id HAVING {mixed_group}",
    "SELECT user_id FROM users JOIN events USING (user_id) GROUP BY user_id HAVING {mixed_group} AND {having_profile}",
    "SELECT user_id FROM users LEFT JOIN events USING (user_id) GROUP BY user_id HAVING "
    "count(event_id) FILTER (WHERE {mixed}) {op} {small}",
    "SELECT users.user_id FROM users LEFT JOIN events ON events.user_id = users.user_id AND {mixed} "
    "GROUP BY users.user_id HAVING count(event_id) {op} {small}",
    "SELECT {one}.user_id FROM users {one} LEFT JOIN events {two} ON {one}.user_id = {two}.user_id AND {mixed} "
    "WHERE {two}.event_id IS NULL AND {person}",
    "SELECT {one}.user_id FROM users {one} WHERE {person} AND EXISTS (SELECT 1 FROM events {two} "
    "WHERE {two}.user_id = {one}.user_id AND {mixed})",
    "SELECT {one}.user_id FROM users {one} WHERE {own} OR NOT EXISTS (SELECT 1 FROM events {two} "
    "WHERE {one}.user_id = {two}.user_id AND {mixed} AND {kind})",
    # What is asked of the event outside beside a table with one row per user, or alone
    "SELECT {one}.user_id FROM events {one} WHERE {is_there} (SELECT 1 FROM users {two} WHERE {two}.user_id = "
    "{one}.user_id AND {one}.amount {op} {two}.credit AND {two}.{person_of} AND {one}.region = {two}.country) "
    "AND {kind} GROUP BY {one}.user_id{having}",
    "SELECT {one}.user_id FROM events {one} WHERE {is_there} (SELECT 1 FROM (SELECT user_id, min(event_time) AS first, "
    "max(amount) AS most FROM events GROUP BY user_id) {two} WHERE {two}.user_id = {one}.user_id AND {two}.first "
    "{order} {one}.event_time AND ({two}.most {op} {one}.amount OR {one}.premium)) OR {kind}",
    "SELECT {one}.user_id FROM events {one} WHERE {is_there} (SELECT 1 FROM events {two} WHERE {two}.user_id = "
    "{one}.user_id AND {two}.{kind} AND {one}.amount {op} {money} AND {two}.amount {order} {one}.amount) "
    "GROUP BY {one}.user_id{having}",
    "SELECT {one}.user_id FROM users {one} WHERE {one}.user_id {not_in} (SELECT {two}.user_id FROM events {two} "
    "WHERE {two}.user_id = {one}.user_id AND {mixed})",
    "SELECT {one}.user_id FROM users {one} WHERE (SELECT count(*) FROM events {two} WHERE {two}.user_id = "
    "{one}.user_id AND {mixed}) {op} {small}",
    "SELECT {one}.user_id FROM events {one} JOIN (SELECT user_id, credit * 2 AS credit, city_tier + 1 AS city_tier, "
    "lower(country) AS country, vip, rating, joined FROM users WHERE {person}) {two} USING (user_id) WHERE {mixed} "
    "GROUP BY {one}.user_id{having}",
    "SELECT {one}.user_id FROM events {one} WHERE amount {op} (SELECT credit + 1 FROM users {two} "
    "WHERE {two}.user_id = {one}.user_id) AND {kind} GROUP BY {one}.user_id",
    "SELECT {one}.user_id FROM events {one} WHERE {one}.amount {op} (SELECT max(x.amount) FROM events x JOIN users "
    "USING (user_id) WHERE x.user_id = {one}.user_id AND {mixed_of_x}) GROUP BY {one}.user_id{having}",
    "SELECT {one}.user_id FROM events {one} JOIN users USING (user_id) WHERE credit {op} (SELECT sum(x.amount) FROM "
    "events x WHERE x.user_id = {one}.user_id AND x.{kind}) AND {kind} GROUP BY {one}.user_id{having}",
    "SELECT {one}.user_id FROM events {one} JOIN users USING (user_id) JOIN (SELECT user_id, {count} AS n, "
    "min(event_time) AS first FROM events WHERE {kind} GROUP BY user_id) {two} USING (user_id) WHERE quantity + "
    "{two}.n {op} city_tier AND {one}.event_time {order} {two}.first GROUP BY {one}.user_id{having}",
    "SELECT user_id FROM (SELECT e.*, credit AS most FROM events e JOIN users USING (user_id) WHERE {mixed}) x "
    "WHERE amount {op} most GROUP BY user_id{having}",
    "WITH {one} AS (SELECT user_id, region, amount, credit, event_time, joined FROM events JOIN users USING (user_id)) "
    "SELECT user_id FROM {one} WHERE amount {op} credit OR event_time {order} joined GROUP BY user_id",
]
