"""The grammar's rules for functions of numbers; `grammar` adds them to its own.

DuckDB raises an error outside a function's domain, so arguments are kept inside; what is NULL there is
shown by tests/segmentation/test_mathematics.py.
"""

#: Alternatives that rules of the grammar get besides their own.
MORE: dict[str, list[str]] = {
    "row": [
        "{curve} {op} {real}",
        "{curve} {op} {curve}",
        "{curve} IS NULL",
        "{curve} BETWEEN {real} AND {curve}",
        "{distance} {op} {metres}",
        "{distance} {op} {metres}",
        "{distance} <= {haversine}",
        "{distance} = {haversine}",
        "{haversine} {op} {metres}",
        "{whole} {op} {money}",
        "{whole} {op} {numbers}",
        "{whole} IN ({small}, {small})",
        "{whole} / quantity {op} {money}",
        "coalesce({whole}, 0) {op} {small}",
    ],
    "groups": [
        "abs({exact}) {op} {money}",
        "abs({extreme}) {op} {extreme}",
        "{bounds}({exact}, {extreme}) {op} {money}",
        "{bounds}({sum}, {money}) {op} {exact}",
        "{bounds}({count}, {count}, NULL) {op} {small}",
        "{rounds}(sum(amount){filter}) {op} {small}",
        "{rounds}({sum} - 0.5) = {exact}",
        "sqrt({count}) {op} {real}",
        "power({count}, 2) {op} {count}",
        "sqrt(abs({real_extreme})) {op} {real}",
        "sin({last}(score, event_time){filter}) {op} {real}",
        "{bounds}({real_extreme}, {lifetime}) {op} {real}",
        "great_circle_distance({last}(score, event_time){only}, {last_number}, 0.5, 1) {op} {metres}",
        "great_circle_distance({last}(score, event_time){only}, 1, {last}(score, event_time){filter}, 1) {op} {metres}",
    ],
    "product": [
        "abs(amount)", "abs(quantity - amount)", "{rounds}(amount)", "round(amount * 0.25)",
        "{bounds}(amount, quantity)", "{bounds}(quantity, 0)",
    ],
    "real_extreme": ["{least}({curve}){filter}", "{least}({distance}){filter}"],
    "distinct": ["count(DISTINCT {rounds}(amount)){filter}", "count(DISTINCT abs(score)){filter}"],
}  # fmt: skip

RULES: dict[str, list[str]] = {
    "rounds": ["floor", "ceil", "ceiling", "round"],
    "bounds": ["least", "greatest"],
    "whole": [
        "abs(amount)", "abs(amount - quantity)", "{rounds}(amount)", "{rounds}(amount * 0.5)", "{rounds}(-amount)",
        "{bounds}(amount, quantity)", "{bounds}(amount, {money})", "{bounds}(NULL, quantity, {small})",
    ],
    "number": ["score", "score", "amount", "quantity", "score * 2", "score + quantity", "-score"],
    "ratio": ["greatest(-1.0, least(1.0, {number}))", "score / greatest(abs(score), 1)"],
    "curve": [
        "sin({number})", "cos({number})", "tan({number})", "asin({ratio})", "acos({ratio})", "atan({number})",
        "atan2({number}, {number})", "sqrt(abs({number}))", "radians({number})", "degrees({number})",
        "power({number}, 2)", "pow(abs({number}) + 1, {number})", "pi() * score", "abs(score)", "floor(score)",
        "ceil(score * 4)", "floor(score * 4 + 0.5)", "{bounds}(score, {number})", "{bounds}(score, {real})",
        "degrees(atan2(sin({number}), cos({number})))",
    ],
    "place": ["0.5, 1", "0.1, -1", "quantity, 1.25", "score, amount"],
    "distance": ["great_circle_distance(score, quantity, {place})", "great_circle_distance(amount, score, {place})"],
    "metres": ["0", "55597.5", "111195.1", "200000", "1000"],
    "haversine": [
        "12742017.6 * asin(least(1.0, sqrt(power(sin((radians(0.5) - radians(score)) / 2), 2)"
        " + cos(radians(score)) * cos(radians(0.5)) * power(sin((radians(1) - radians(quantity)) / 2), 2))))",
        "6371008.8 * acos(least(1.0, sin(radians(score)) * sin(radians(0.5))"
        " + cos(radians(score)) * cos(radians(0.5)) * cos(radians(quantity) - radians(1))))",
    ],
}  # fmt: skip
