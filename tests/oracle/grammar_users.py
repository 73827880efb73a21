"""The grammar's queries of users and of events joined with them; `grammar_sets` draws from them."""

from tests.oracle import grammar_mixed

#: Conditions on a profile, and conditions that put one beside the columns of an event.
RULES: dict[str, list[str]] = {
    "person": [
        *["city_tier = 1", "city_tier {op} {small}", "{own}", "vip"] * 2,
        "NOT ({own})", "({own}) IS NULL", "({own}) IS NOT TRUE", "({own}) IS FALSE", "{own} AND {own}",
        "({own} OR {own})", "NOT ({own} AND {own})", "({own}) = ({own})", "coalesce({own}, {bool})",
    ],
    "own": [
        "city_tier IN (1, 2)", "city_tier NOT IN (1, NULL)", "city_tier IS NULL", "city_tier IS DISTINCT FROM 1",
        "coalesce(city_tier, 2) {op} 2", "country = {region}", "country {op} {region}", "country IS NULL",
        "lower(country) = 'ca'", "country {like} {pattern}", "country BETWEEN 'A' AND {region}", "NOT vip",
        "vip IS NOT TRUE", "vip IS NULL", "vip = {bool}", "credit {op} {money}", "credit BETWEEN {money} AND {money}",
        "credit {op} city_tier", "credit / city_tier {op} {money}", "credit + city_tier {op} {money}", "-credit > 0",
        "rating {op} {real}", "rating {op} credit", "rating IS NULL", "joined {order} {stamp}", "joined IS NULL",
        "joined = {stamp}", "credit IN ({money}, {money}, NULL)",
    ],
    "beside": [
        *["{person} AND {kind}", "{rows} AND {person}", "({person} OR {kind})"] * 2, "NOT ({person} AND {rows})",
        "vip = premium", "premium <> (city_tier = 1)", "coalesce(vip, premium)", "(vip AND premium) IS NULL",
        "({own} OR {row}) IS NOT TRUE", "coalesce(premium, vip) = ({rows})", "vip IN (true, NULL) AND {rows}",
        *["{mixed}", "{mixed} AND {kind}"] * 3,
    ],
    "having_profile": [
        "max(city_tier) {op} 1", "max(country) = {region} AND {groups}", "(min(credit) {op} {money} OR {groups})",
        "{exact} {op} max(credit)", "{exact} {op} max(credit)", "{quotient} {op} min(city_tier)",
        "{sum} - max(credit) {op} {money}", "({sum} {op} max(credit)) IS NULL", "coalesce({sum}, 0) {op} max(credit)",
        "{count} {op} max(city_tier)", "{last_text} = max(country)", "max(event_time){only} {order} max(joined)",
        "max(event_time){only} - max(joined) {order} {span}", "bool_or(vip)", "{last_flag} = bool_and(vip)",
        "{real_extreme} {op} max(rating)", "{count} {op} max(city_tier) * 2", "NOT ({exact} {op} max(credit))",
        "coalesce(max(city_tier), 2) {op} {count}", "count(country){filter} {op} {small}", "max(country) IS NULL",
    ],
    "grouped_by_profile": [
        "city_tier {op} 1 AND {groups}", "{exact} {op} credit", "(country = {region} OR {groups})", "{own_grouped}",
        "({groups}) = (city_tier = 1)", "credit {op} {money} AND credit > city_tier",
    ],
    "own_grouped": ["city_tier IS NULL", "NOT (credit {op} {money})", "country {like} {pattern}"],
}

#: Whole queries. {one}, {two}: names for tables; {inner}: a query; {member}: a condition on the user of {one}.
QUERIES = [
    *["SELECT user_id FROM users WHERE {person}"] * 3,
    "SELECT user_id FROM users",
    "SELECT DISTINCT {one}.user_id FROM users AS {one} WHERE {person} AND {one}.user_id {op} 'u1'",
    "SELECT {one}.user_id FROM users {one} WHERE ({person} OR {member})",
    "SELECT {one}.user_id FROM users {one} WHERE {person} AND {member}",
    "SELECT user_id FROM users WHERE {person} GROUP BY user_id",
    *["SELECT user_id FROM events JOIN users USING (user_id) WHERE {beside} GROUP BY user_id HAVING {groups}"] * 2,
    "SELECT user_id FROM events JOIN users USING (user_id) WHERE {beside}",
    "SELECT user_id FROM users JOIN events USING (user_id) WHERE {person} GROUP BY user_id HAVING {having_profile}",
    "SELECT user_id FROM events LEFT JOIN users USING (user_id) GROUP BY user_id HAVING {having_profile}",
    "SELECT user_id FROM events JOIN users USING (user_id){where} GROUP BY user_id HAVING {having_profile}",
    "SELECT user_id FROM events JOIN users USING (user_id){where} GROUP BY user_id, city_tier, credit, country "
    "HAVING {grouped_by_profile}",
    "SELECT user_id FROM events JOIN users USING (user_id) GROUP BY user_id "
    "HAVING count(*) FILTER (WHERE {beside}) {op} {small}",
    "SELECT user_id FROM events JOIN users USING (user_id){where} GROUP BY user_id "
    "HAVING {groups} AND sum(amount) FILTER (WHERE {beside}) {op} {money}",
    "SELECT user_id FROM users WHERE {person} AND user_id NOT IN (SELECT user_id FROM events WHERE {rows})",
    "SELECT {one}.user_id FROM events {one} LEFT JOIN users {two} ON {two}.user_id = {one}.user_id "
    "WHERE {two}.{person_of} GROUP BY {one}.user_id HAVING max({two}.{person_value}) IS NOT NULL",
    "SELECT {one}.user_id FROM events {one}, users {two} WHERE {one}.user_id = {two}.user_id AND {two}.{person_of} "
    "AND {one}.{kind}",
    "SELECT {one}.user_id FROM users {one} LEFT JOIN events {two} USING (user_id) WHERE {two}.user_id IS NULL "
    "AND {person}",
    "SELECT {one}.user_id FROM users {one} LEFT JOIN ({inner}) {two} USING (user_id) WHERE {two}.user_id IS NULL "
    "OR {person}",
    "SELECT user_id FROM (SELECT user_id, {count} AS n, {sum} AS s FROM events{where} GROUP BY user_id) {one} "
    "JOIN users {two} USING (user_id) WHERE {person} AND (n {op} city_tier OR s {op} credit)",
    "SELECT user_id FROM ({inner}) {one} JOIN users {two} USING (user_id) WHERE {person}",
    "WITH {one} AS (SELECT user_id, city_tier AS tier, credit FROM users WHERE {person}) "
    "SELECT user_id FROM {one} WHERE tier {op} 2 OR credit {op} {money}",
    "SELECT user_id FROM events JOIN (SELECT user_id, city_tier + 1 AS next FROM users WHERE {person}) {one} "
    "USING (user_id) WHERE next {op} 2 AND {rows}",
    "SELECT {one}.user_id FROM events {one} WHERE EXISTS (SELECT 1 FROM users {two} WHERE {two}.user_id = "
    "{one}.user_id AND {person}) AND {one}.{kind}",
    "SELECT {one}.user_id FROM users {one} WHERE NOT EXISTS (SELECT 1 FROM events {two} WHERE {two}.user_id = "
    "{one}.user_id AND {two}.{kind})",
    "SELECT user_id FROM events WHERE user_id IN (SELECT user_id FROM users WHERE {person}) GROUP BY user_id{having}",
    "SELECT user_id FROM events GROUP BY user_id HAVING user_id NOT IN (SELECT user_id FROM users WHERE {person}) "
    "OR {groups}",
    # Values of events beside those of a profile, also for users who have none
    "SELECT {one}.user_id FROM users {one} WHERE {person} AND (SELECT count(*) FROM events {two} "
    "WHERE {two}.user_id = {one}.user_id AND {two}.{kind}) {op} {small}",
    "SELECT {one}.user_id FROM users {one} WHERE (SELECT {sum} FROM events {two} "
    "WHERE {two}.user_id = {one}.user_id) {op} credit",
    "SELECT {one}.user_id FROM users {one} WHERE (SELECT max(event_time) FROM events {two} "
    "WHERE {two}.user_id = {one}.user_id AND {two}.{kind}) {order} now() - {span} OR {own}",
    "SELECT {one}.user_id FROM users {one} LEFT JOIN (SELECT user_id, {count} AS n, {sum} AS s FROM events{where} "
    "GROUP BY user_id) {two} USING (user_id) WHERE (coalesce({two}.n, 0) {op} {small} OR {two}.s {op} credit) "
    "AND {person}",
    "SELECT {one}.user_id FROM users {one} LEFT JOIN (SELECT user_id, {count} AS n FROM events{where} "
    "GROUP BY user_id) {two} USING (user_id) WHERE {two}.n IS NULL OR {two}.n {op} city_tier",
    "SELECT {one}.user_id FROM events {one} JOIN users {two} USING (user_id) WHERE ({own} OR (SELECT count(*) "
    "FROM events x WHERE x.user_id = {one}.user_id AND x.{kind}) {op} {small}) GROUP BY {one}.user_id HAVING {groups}",
    "SELECT {one}.user_id FROM events {one} JOIN (SELECT user_id, min(event_time) AS first FROM events WHERE {kind} "
    "GROUP BY user_id) {two} USING (user_id) JOIN users USING (user_id) WHERE {one}.event_time > {two}.first "
    "AND {own} GROUP BY {one}.user_id",
    # Groups of events that may be empty: of users without any the LEFT JOIN makes one row of NULLs
    "SELECT user_id FROM users LEFT JOIN events USING (user_id) GROUP BY user_id HAVING {groups}",
    "SELECT user_id FROM users LEFT JOIN events USING (user_id) GROUP BY 1 HAVING {groups}",
    *["SELECT {one}.user_id FROM users {one} LEFT JOIN events {two} ON {two}.user_id = {one}.user_id AND {two}.{kind} "
      "GROUP BY {one}.user_id HAVING {empty}"] * 2,
    "SELECT {one}.user_id FROM users {one} LEFT JOIN events {two} ON {one}.user_id = {two}.user_id AND {rows} "
    "WHERE {person} GROUP BY {one}.user_id HAVING {empty}",
    "SELECT {one}.user_id FROM users {one} LEFT JOIN events {two} ON {two}.user_id = {one}.user_id AND {two}.{kind} "
    "AND {window} GROUP BY {one}.user_id HAVING count({two}.event_id) {op} {small} AND {having_profile}",
    "SELECT {one}.user_id FROM users {one} LEFT JOIN (SELECT * FROM events WHERE {rows}) {two} USING (user_id) "
    "WHERE {person} GROUP BY {one}.user_id, city_tier, credit, country HAVING {grouped_by_profile}",
    "SELECT user_id FROM (SELECT {one}.user_id, {count} AS n, {sum} AS s, max(event_time) AS seen FROM users {one} "
    "LEFT JOIN events {two} ON {two}.user_id = {one}.user_id AND {two}.{kind} GROUP BY {one}.user_id) x "
    "WHERE n {op} {small} OR s {op} {money} OR seen {order} now() - {span}",
    "SELECT {one}.user_id FROM (SELECT DISTINCT user_id FROM ({inner}) y) {one} LEFT JOIN events {two} "
    "ON {two}.user_id = {one}.user_id AND {rows} GROUP BY {one}.user_id HAVING {empty}",
    "SELECT {one}.user_id FROM (SELECT user_id, {count} AS n FROM events{where} GROUP BY user_id) {one} LEFT JOIN "
    "events {two} ON {two}.user_id = {one}.user_id AND {two}.{kind} WHERE {one}.n {op} {small} "
    "GROUP BY {one}.user_id, {one}.n HAVING {empty} OR count({two}.event_id) {op} {one}.n",
    "SELECT user_id FROM users LEFT JOIN events USING (user_id) GROUP BY user_id HAVING {empty} OR {clock}",
    "SELECT {one}.user_id FROM users {one} LEFT JOIN events {two} ON {two}.user_id = {one}.user_id AND {rows} "
    "WHERE {two}.event_id IS NULL OR {person}",
    "SELECT {one}.user_id FROM users {one} LEFT JOIN events {two} ON {two}.user_id = {one}.user_id AND {two}.{kind} "
    "AND {two}.event_time {order} (SELECT min(event_time) FROM events x WHERE x.user_id = {two}.user_id) + {near} "
    "GROUP BY {one}.user_id HAVING {empty}",
    # The clock turns users without events, too
    "SELECT user_id FROM users WHERE {clock}",
    "SELECT user_id FROM users WHERE {person} OR {clock}",
    "SELECT {one}.user_id FROM users {one} WHERE NOT ({clock}) AND {member}",
    "SELECT user_id FROM events JOIN users USING (user_id) WHERE {own} AND {clock} GROUP BY user_id{having}",
    "SELECT user_id FROM events JOIN users USING (user_id) GROUP BY user_id HAVING {having_profile} OR {clock}",
]

RULES |= {
    "empty": [
        *["count(event_id){filter} {op} {small}"] * 2, "count(event_id) = 0 AND {own_group}", "count(*) {op} {small}",
        "count(*){filter} {op} {small}", "{groups}", "({groups}) IS NULL", "count({any}){filter} {op} {small}",
        "count(*) FILTER (WHERE {any} IS NULL) {op} {small}", "count(*) FILTER (WHERE ({row}) IS NOT TRUE) {op} 1",
        "sum(coalesce({numbers}, 1)) {op} {money}", "{least}(coalesce({numbers}, 1.5)) {op} {money}",
        "avg(coalesce({numbers}, 2)) {op} {money}", "bool_or({any} IS NULL)", "bool_and({any} IS NOT NULL)",
        "count(DISTINCT coalesce(region, 'x')) {op} {small}", "count(DISTINCT {any}){filter} {op} {small}",
        "mode(coalesce(region, 'ca')) = {region}", "bool_or(({row}) IS TRUE)", "every(premium)",
        "{last}(coalesce({texts}, 'ca'), event_time) = {region}", "count(1) {op} {small}",
        "count(premium IS NULL){filter} {op} {small}", "count(coalesce(amount, 0)){filter} {op} {small}",
        "max(event_time){only} {order} now() - {span}", "count(event_id) FILTER (WHERE {beside}) {op} {small}",
        "({groups} OR {groups})", "{exact} IS NULL", "count(event_id) {op} count(*)",
    ],
    "own_group": ["{groups}", "max(event_time) IS NULL", "NOT ({groups})"],
    "band": [
        *["band = 'a'", "band <> 'a'", "band > 'a'", "band IN ('a')", "band NOT IN ('a')"] * 2, "band LIKE '_'",
        "band IS NULL", "coalesce(band, 'z') {op} 'b'", "lower(band) <> 'b'", "band BETWEEN 'a' AND 'b'",
        "(band = 'a') IS NOT TRUE", "(band > 'b') = (band < 'c')", "(band = 'a') IS NULL", "band IS DISTINCT FROM 'a'",
    ],
    "person_of": ["city_tier = 1", "country = {region}", "vip", "credit {op} {money}", "city_tier IS NULL"],
    "person_value": ["city_tier", "country", "credit"],
} | grammar_mixed.RULES
QUERIES += grammar_mixed.QUERIES
