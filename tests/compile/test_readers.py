"""What moves with a segment: who reads it, directly or not, and the other bands of its definition."""

from segmentation.compile.bind import bind_all
from segmentation.compile.readers import readers
from tests.compile.shop import SCHEMA

QUERY = "SELECT user_id FROM events GROUP BY user_id"
BANDS = "SELECT user_id, CASE WHEN count(*) > 3 THEN 'many' ELSE 'few' END AS band FROM events GROUP BY user_id"
FILES = {
    "one.sql": QUERY, "alone.sql": QUERY, "bands.sql": BANDS,
    "both.sql": "SELECT user_id FROM segments.one INTERSECT SELECT user_id FROM segments.\"bands/few\"",
    "all.sql": "SELECT user_id FROM events WHERE user_id NOT IN (SELECT user_id FROM segments.both)",
}  # fmt: skip


def test_readers() -> None:
    definitions = bind_all(FILES, SCHEMA)
    names = [one.name for one in definitions]
    found = {name: {names[place] for place in places} for name, places in zip(names, readers(definitions))}
    assert found == {
        "one": {"both", "all"}, "alone": set(), "both": {"all"}, "all": set(),
        "bands/many": {"bands/few", "both", "all"}, "bands/few": {"bands/many", "both", "all"},
    }  # fmt: skip
