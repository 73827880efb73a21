"""Pages: whole while the list changes, tokens that only fit where they were made."""

import base64

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_server import pages
from grpc_server.errors import Refusal
from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from grpc_server.generated.tidegate.v1 import segments_pb2
from tests.grpc.serving import Serving, failure
from tests.grpc.shop import BIG, LAPSED_CALIFORNIANS, NAMES, Shop

#: No name and no id holds a NUL character, so no token does.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(text, text)
def test_a_token_gives_back_its_key(listing: str, key: str) -> None:
    assert pages.after(listing, pages.token(listing, key)) == key


@given(text, text, text)
def test_a_token_fits_its_own_list_only(listing: str, other: str, key: str) -> None:
    if other != listing:
        with pytest.raises(Refusal):
            pages.after(other, pages.token(listing, key))


@given(st.data(), text)
def test_an_edited_token_is_refused(data: st.DataObject, key: str) -> None:
    raw = bytearray(base64.urlsafe_b64decode(pages.token("list", key) + "=="))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Refusal):
        pages.after("list", base64.urlsafe_b64encode(raw).decode().rstrip("="))


@given(text.filter(bool))
def test_any_other_text_is_refused(given_text: str) -> None:
    with pytest.raises(Refusal):
        pages.after("list", given_text)


@pytest.mark.postgres
def test_members_in_pages_while_others_come_and_go(shop: Shop, server: Serving) -> None:
    stay = [f"stay{i:03}" for i in range(57)]
    shop.move([(user, [BIG]) for user in [*stay, *(f"leave{i:02}" for i in range(20))]])
    seen: list[str] = []
    token, number = "", 0
    while True:
        page = server.membership.ListMembers(
            pb.ListMembersRequest(segment=NAMES[BIG], page_size=10, page_token=token)
        )
        assert len(page.user_ids) == 10 or not page.next_page_token
        assert page.definition.segment == NAMES[BIG]
        assert page.HasField("as_of")
        seen += page.user_ids
        token = page.next_page_token
        if not token:
            break
        # The key that the token holds goes too, and others appear before and after it.
        shop.move([(f"leave{number:02}", [BIG]), (f"leave{number + 10:02}", [BIG]), (f"aaa{number}", [BIG]),
                   (f"stay{number:03}x", [BIG])])  # fmt: skip
        number += 1
    assert seen == sorted(set(seen))
    assert set(stay) <= set(seen)


@pytest.mark.postgres
def test_page_sizes(shop: Shop, server: Serving) -> None:
    shop.move([(f"u{i:04}", [BIG]) for i in range(1_001)])
    for size, expected in ((0, 100), (1, 1), (1_000, 1_000)):
        page = server.membership.ListMembers(pb.ListMembersRequest(segment=NAMES[BIG], page_size=size))
        assert (len(page.user_ids), bool(page.next_page_token)) == (expected, True)
    for size in (-1, 1_001, 2**31 - 1):
        for call, request in (
            (server.membership.ListMembers, pb.ListMembersRequest(segment=NAMES[BIG], page_size=size)),
            (server.segments.ListSegments, segments_pb2.ListSegmentsRequest(page_size=size)),
        ):
            failed = failure(call, request)
            assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_SIZE")
            assert failed.fields == ["page_size"]


@pytest.mark.postgres
def test_tokens_of_other_lists_are_refused(shop: Shop, server: Serving) -> None:
    shop.move([(f"u{i}", [BIG, LAPSED_CALIFORNIANS]) for i in range(3)])
    members = server.membership.ListMembers(pb.ListMembersRequest(segment=NAMES[BIG], page_size=1)).next_page_token
    segments = server.segments.ListSegments(segments_pb2.ListSegmentsRequest(page_size=1)).next_page_token
    for call, request in (
        (server.membership.ListMembers, pb.ListMembersRequest(segment=NAMES[1], page_token=members)),
        (server.membership.ListMembers, pb.ListMembersRequest(segment=NAMES[BIG], page_token=segments)),
        (server.membership.ListMembers, pb.ListMembersRequest(segment=NAMES[BIG], page_token=members[:-1])),
        (server.segments.ListSegments, segments_pb2.ListSegmentsRequest(page_token=members)),
        (server.segments.ListSegments, segments_pb2.ListSegmentsRequest(page_token="x" * 5_000)),
    ):
        failed = failure(call, request)
        assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")
        assert failed.fields == ["page_token"]
