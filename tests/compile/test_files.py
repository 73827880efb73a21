"""Files: names, headers, limits, several files at once."""

import pytest

from segmentation.compile.bind import bind, bind_all
from segmentation.compile.problems import DefinitionErrors
from segmentation.compile.tree import Select
from tests.compile.shop import SCHEMA

QUERY = "SELECT user_id FROM events GROUP BY user_id"


def problems(text: str, name: str = "x") -> list[str]:
    with pytest.raises(DefinitionErrors) as caught:
        bind(name, f"{name}.sql", text, SCHEMA)
    return [f"{each.at.line}:{each.at.column} {each.reason} | {each.remedy}" for each in caught.value.problems]


def test_header() -> None:
    text = "/*\ndescription: 'Buyers: all'\nowner: growth\ntags: [shop, live]\nguard: 2.5\n*/\n" + QUERY + ";\n"
    one = bind("x", "x.sql", text, SCHEMA)
    assert (one.description, one.owner, one.tags, one.enabled) == ("Buyers: all", "growth", ("shop", "live"), True)
    assert one.guard == 2.5 and bind("x", "x.sql", QUERY, SCHEMA).guard is None
    assert one.sql == QUERY + ";"


@pytest.mark.parametrize("text", [QUERY, "-- a remark\n" + QUERY, "/**/" + QUERY, "/* */" + QUERY, "\ufeff" + QUERY])
def test_no_header(text: str) -> None:
    one = bind("x", "x.sql", text, SCHEMA)
    assert (one.description, one.owner, one.tags, one.enabled) == ("", "", (), True)


def test_line_ends_of_windows() -> None:
    assert problems("/*\r\nowner: me\r\n*/\r\nSELECT user_id\r\nFROM events\r\nWHERE nope = 1")[0].startswith("6:7 ")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("\nowner: me\ndescripton: x\n", "3:1 Unknown key descripton in the header. | Did you mean description?"),
        (
            "\ncolour: x\n",
            "2:1 Unknown key colour in the header. | Known keys: description, owner, tags, enabled, guard.",
        ),
        ("\nowner: a\nowner: b\n", "3:1 The key owner is written twice. | Keep one of them."),
        (
            "\nowner: a\ntags: shop\n",
            "3:1 The header's tags has the wrong type. | Write a list of texts: tags: [shop, growth]",
        ),
        (
            "\nenabled: maybe\n",
            "2:1 The header's enabled has the wrong type. | Write enabled: true or enabled: false",
        ),
        (
            "\nguard: -1\n",
            "2:1 The header's guard has the wrong type. | Write percent of the segment's members, 0 or more: guard: 10",
        ),
        (
            "\nguard: ten\n",
            "2:1 The header's guard has the wrong type. | Write percent of the segment's members, 0 or more: guard: 10",
        ),
        (
            " just a remark ",
            "1:4 The first comment is the definition's header, and this is not YAML with keys. | "
            "Write for example: description: what it is for. For a remark use -- instead.",
        ),
        (
            "\ndescription: a: b\n",
            "2:15 The header is not YAML: mapping values are not allowed here. | "
            "Write lines such as: owner: growth. Put texts with : or # in quotes.",
        ),
        ("\nowner: /* x\n", "2:8 A comment inside the header comment. | Remove the inner /*."),
    ],
)
def test_wrong_header(header: str, expected: str) -> None:
    assert problems(f"/*{header}*/\n{QUERY}") == [expected]


def test_header_without_end() -> None:
    assert problems("/* owner: me\n" + QUERY) == ["1:1 The comment does not end. | Close it with */."]


def test_header_and_query_are_both_checked() -> None:
    found = problems("/*\nwho: me\n*/\nSELECT user_id FROM events WHERE nope")
    assert [each.split(" ")[0] for each in found] == ["2:1", "4:34"]


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("Big", "big"),
        ("big-spenders", "big_spenders"),
        ("1st", "my_segment"),
        ("a" * 64, "a" * 63),
        ("käufer", "k_ufer"),
    ],
)
def test_names(name: str, better: str) -> None:
    (found,) = problems(QUERY, name)
    assert found.startswith(f"1:1 The file's name is the segment's, and '{name}' is not a name")
    assert found.endswith(f"| Rename it to {better}.sql.")


def test_all_problems_of_all_files() -> None:
    files = {
        "defs/b.sql": "SELECT user_id FROM events WHERE nope",
        "defs/a.sql": "SELECT user_id FROM events WHERE nope AND\n  amount > 'x'",
        "defs/good.sql": QUERY,
        "defs/schema.yml": "not SQL",
    }
    with pytest.raises(DefinitionErrors) as caught:
        bind_all(files, SCHEMA)
    places = [(each.file, each.at.line, each.at.column) for each in caught.value.problems]
    assert places == [("defs/a.sql", 1, 34), ("defs/a.sql", 2, 12), ("defs/b.sql", 1, 34)]


def test_one_name_in_two_files() -> None:
    with pytest.raises(DefinitionErrors) as caught:
        bind_all({"a/x.sql": QUERY, "b/x.sql": QUERY}, SCHEMA)
    assert str(caught.value) == "b/x.sql:1:1: a/x.sql has the same name, x. Rename one of the two files."


def test_sorted_and_enabled_only() -> None:
    files = {
        "z.sql": QUERY,
        "a.sql": QUERY,
        "off.sql": "/*\nenabled: false\n*/\nSELECT user_id FROM events WHERE nope",
    }
    assert [one.name for one in bind_all(files, SCHEMA)] == ["a", "z"]


def test_large_files_and_odd_characters() -> None:
    assert problems(QUERY + " " * 300_000) == ["1:1 The file is larger than 256 KiB. | Split the definition."]
    assert problems("SELECT user_id FROM events WHERE region = '\0'") == [
        "1:44 The file holds a NUL character. | Save it as plain UTF-8 text."
    ]


def deep(pattern: str, count: int) -> str:
    opening, closing = pattern.split("flag")
    return f"SELECT user_id FROM events WHERE {opening * count}flag{closing * count}"


@pytest.mark.parametrize("pattern", ["(flag)", "NOT flag", "(NOT flag)", "coalesce(flag)", "(flag = TRUE)"])
@pytest.mark.parametrize("count", [1_000, 20_000])
def test_deep_nesting_is_refused(pattern: str, count: int) -> None:
    (found,) = problems(deep(pattern, count))
    assert "nested more than 200 deep" in found or "larger than" in found


def test_depth_that_is_allowed() -> None:
    bind("x", "x.sql", deep("(flag)", 199), SCHEMA)
    bind("x", "x.sql", deep("(NOT flag)", 99), SCHEMA)


def test_long_rows_of_conditions_are_not_deep() -> None:
    one = bind("x", "x.sql", "SELECT user_id FROM events WHERE " + " OR ".join(["quantity > 1"] * 5_000), SCHEMA)
    assert isinstance(one.query, Select) and one.query.where is not None


def test_long_lists() -> None:
    values = ",".join(map(str, range(10_000)))
    bind("x", "x.sql", f"SELECT user_id FROM events WHERE quantity IN ({values})", SCHEMA)
    (found,) = problems(f"SELECT user_id FROM events WHERE quantity IN ({values}, 10000)")
    assert "more than 10000 values" in found
