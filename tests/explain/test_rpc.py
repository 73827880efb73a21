"""ExplainMembership: what the core says, as messages, within limits and deadlines; and who cannot answer."""

from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_server import explain_answers
from grpc_server.explain_answers import DEPTH_MAX, message
from grpc_server.generated.tidegate.v1 import explanation_pb2 as pb
from segmentation.compile.bind import bind
from segmentation.events.schema import load_schema
from segmentation.explain.arrivals import in_order_of_time
from segmentation.explain.explaining import Explanation, explain
from segmentation.reference_users import Event
from storage.one_user import deployed, explained
from tests.explain.conftest import END
from tests.flows.conftest import World
from tests.grpc.serving import failure, serving


def request(user: str = "u2", segment: str = "buyers", **more: object) -> pb.ExplainMembershipRequest:
    return pb.ExplainMembershipRequest(user_id=user, segment=segment, **more)  # type: ignore[arg-type]


def test_the_answer_is_what_the_core_says(world: World) -> None:
    storage, what = world.settings().storage_url, deployed(world.url)
    with serving(world.url, storage_url=storage) as server:
        ask = server.membership.ExplainMembership
        with pytest.raises(grpc.RpcError) as late:
            ask(request(), timeout=0.05)  # the process that answers has not even started
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        for definition in what.plan.segments:
            answer = ask(request(segment=definition.name, max_events=3), timeout=60)
            told = explained(world.url, storage, what, definition, "u2", None, 3)
            assert answer.definition.segment == definition.name and answer.definition.version == 1
            answer.ClearField("definition")
            assert answer == message(told)
            assert answer.at.ToMicroseconds() == END and answer.known
        past = Timestamp(seconds=END // 1_000_000 - 7_200)
        assert ask(request(at=past), timeout=60).later_arrivals > 0
        assert not ask(request("nobody"), timeout=60).known
        for wrong, reason in [
            (request(segment="buyer"), "UNKNOWN_SEGMENT"), (request(""), "EMPTY_USER_ID"),
            (request(max_events=101), "INVALID_MAX_EVENTS"), (request(at=Timestamp(seconds=-1)), "INVALID_TIME"),
        ]:  # fmt: skip
            assert failure(ask, wrong, timeout=60).reason == reason


def test_a_server_that_does_not_reach_the_states(world: World, tmp_path: Path) -> None:
    with serving(world.url, storage_url=tmp_path / "elsewhere") as server:
        refused = failure(server.membership.ExplainMembership, request(), timeout=60)
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ARCHIVE")
        assert "storage_url" in refused.message
    (tmp_path / "empty/checkpoints").mkdir(parents=True)
    with serving(world.url, storage_url=tmp_path / "empty") as server:
        refused = failure(server.membership.ExplainMembership, request(), timeout=60)
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ARCHIVE")
        assert str(tmp_path) not in refused.message


def told_of(having: str) -> Explanation:
    schema = load_schema("events:\n  region: {type: text}\n")
    definition = bind("s", "s.sql", f"SELECT user_id FROM events GROUP BY user_id HAVING {having}", schema)
    return explain(definition, schema, "ann", in_order_of_time([Event("ann", "e1", 0, {"region": "CA"})]), 5)


def depth(part: pb.ConditionPart) -> int:
    return 1 + max(map(depth, part.parts), default=0)


def test_an_answer_is_never_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    condition = "count(*) > 1"
    for number in range(60):
        condition = f"({condition} {'OR' if number % 2 else 'AND'} count(*) > {number + 2})"
    deep = message(told_of(condition))
    assert deep.truncated and depth(deep.condition) == DEPTH_MAX
    assert pb.ExplainMembershipResponse.FromString(deep.SerializeToString()) == deep
    monkeypatch.setattr(explain_answers, "PARTS_MAX", 20)
    wide = message(told_of(" OR ".join(f"count(*) = {number}" for number in range(50))))
    assert wide.truncated and len(wide.condition.parts) == 19
    monkeypatch.setattr(explain_answers, "TEXT_MAX", 10)
    short = message(told_of("max(region) = 'California'"))
    assert short.truncated and len(short.condition.sql) == 10


def test_values_and_truths() -> None:
    answer = message(told_of("max(region) = 'NV' AND NOT count(*) > 3"))
    assert not answer.truncated and not answer.HasField("since") and not answer.HasField("next_change")
    first, second = answer.condition.parts
    assert (first.truth, first.op, [value.value for value in first.values]) == (pb.TRUTH_FALSE, "=", ["CA", "NV"])
    assert first.counted[0].events[0].event_id == "e1" and first.values[1].constant
    assert second.truth == pb.TRUTH_TRUE
