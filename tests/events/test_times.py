"""Times: a value alone and a column at once agree, and both agree with the standard library's parser."""

from datetime import UTC, datetime, timedelta

import hypothesis
import pytest
from hypothesis import strategies as st

from segmentation.events import times
from segmentation.events.decode import Reason
from segmentation.events.schema_check import zone_of
from segmentation.events.times import BadTime, ZoneMissing, instant, instants, text_of
from tests.events import messages, twin

ZONES = (None, "UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "Europe/Dublin", "Africa/Monrovia")
STRANGE = st.one_of(messages.times, messages.texts, st.text("0123456789-+:.TtZz ", min_size=18, max_size=28))


def alone(text: str, zone: str | None) -> int | None:
    try:
        return instant(text, None if zone is None else zone_of(zone))
    except (BadTime, ZoneMissing):
        return None


@hypothesis.given(st.lists(STRANGE, max_size=30), st.sampled_from(ZONES))
def test_a_column_is_its_values_and_they_are_the_twins(texts: list[str], zone: str | None) -> None:
    micros, refused = instants(texts, None if zone is None else zone_of(zone))
    together = [None if row in refused else value for row, value in enumerate(micros.tolist())]
    assert together == [alone(text, zone) for text in texts]
    for text, value in zip(texts, together):
        try:
            assert twin.time(text, zone) == value
        except twin.Bad as bad:
            assert value is None
            assert bad.reason in (Reason.BAD_TIME, Reason.TIME_WITHOUT_ZONE)


@hypothesis.given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1), st.sampled_from(["Z", "+00:00", "z"]))
def test_what_python_writes_comes_back(moments: list[datetime], suffix: str) -> None:
    expected = [(moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for moment in moments]
    micros, refused = instants([moment.isoformat().replace("+00:00", suffix) for moment in moments], None)
    assert micros.tolist() == expected and refused == []
    assert [text_of(value) for value in expected] == [
        moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z" for moment in moments
    ]


@hypothesis.given(
    st.lists(st.datetimes(datetime(1880, 1, 1), datetime(2060, 1, 1)), min_size=1), st.sampled_from(ZONES[1:])
)
def test_local_clocks(moments: list[datetime], name: str) -> None:
    zone = zone_of(name)
    assert zone is not None
    micros, refused = instants([moment.isoformat(timespec="microseconds") for moment in moments], zone)
    assert refused == []
    for moment, value in zip(moments, micros.tolist()):
        assert value == (moment.replace(tzinfo=zone) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_every_minute_around_a_change_of_the_clock() -> None:
    for name, day in (
        ("America/New_York", "2024-03-10"),
        ("America/New_York", "2024-11-03"),
        ("Asia/Kolkata", "1942-09-01"),
    ):
        texts = [f"{day}T{minute // 60:02d}:{minute % 60:02d}:30" for minute in range(24 * 60)]
        micros, refused = instants(texts, zone_of(name))
        assert refused == [] and micros.tolist() == [alone(text, name) for text in texts]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2024-01-01T00:00:00.123456789Z", "2024-01-01T00:00:00.123456Z"),
        ("2024-01-01T00:00:00.9999999Z", "2024-01-01T00:00:00.999999Z"),
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
        ("2024-01-01 00:00:00+05:30", "2023-12-31T18:30:00.000000Z"),
        ("2024-01-01t00:00:00-0330", "2024-01-01T03:30:00.000000Z"),
        ("2024-01-01T00:00:00+05", "2023-12-31T19:00:00.000000Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
        ("2017-01-01T05:29:60.25+05:30", "2017-01-01T00:00:00.250000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
    ],
)
def test_read(text: str, utc: str) -> None:
    assert text_of(instant(text, None)) == utc
    assert [text_of(value) for value in instants([text] * 3, None)[0].tolist()] == [utc] * 3


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01T24:00:00Z", "2024-01-01T12:30:60Z", "2024-01-01T23:60:00Z", "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z", "2024-01-00T00:00:00Z",
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "2024-01-01T00:00Z",
        "2024-01-01", "20240101T000000Z", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00,5Z", " 2024-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z ", "2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00+05:60", "2024-01-01T00:00:00 UTC",
        "2024-01-01T00:00:00٣Z", "٢٠٢٤-01-01T00:00:00Z", "2024-01-01T00:00:00\nZ", "", "1704067200",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(BadTime):
        instant(text, None)
    assert instants([text], None)[1] == [0]


def test_a_zone_is_needed_and_the_texts_own_wins() -> None:
    with pytest.raises(ZoneMissing):
        instant("2024-01-01T00:00:00", None)
    kolkata = zone_of("Asia/Kolkata")
    assert instant("2024-01-01T00:00:00Z", kolkata) == instant("2024-01-01T00:00:00Z", None)
    assert instant("0001-01-01T00:00:00Z", None) == times.EARLIEST
