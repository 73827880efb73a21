"""An explanation as the message of the API, within limits: of depth, parts, and length of texts."""

from grpc_server.answers import timestamp
from grpc_server.generated.tidegate.v1 import explanation_pb2 as pb
from segmentation.explain import conditions
from segmentation.explain.conditions import Part, Side
from segmentation.explain.evidence import Counted
from segmentation.explain.explaining import Explanation

#: Parts of one answer, and how deep they lie: protobuf libraries refuse messages that are nested more than 100 deep.
PARTS_MAX, DEPTH_MAX = 500, 40
#: Characters of one text.
TEXT_MAX = 2_000

_KINDS = {
    conditions.ALL: pb.CONDITION_KIND_ALL, conditions.ANY: pb.CONDITION_KIND_ANY, conditions.NOT: pb.CONDITION_KIND_NOT,
    conditions.IN: pb.CONDITION_KIND_IN, conditions.SEGMENT: pb.CONDITION_KIND_SEGMENT,
    conditions.CONDITION: pb.CONDITION_KIND_CONDITION,
}  # fmt: skip
_TRUTHS = {True: pb.TRUTH_TRUE, False: pb.TRUTH_FALSE, None: pb.TRUTH_NULL}


def message(told: Explanation) -> pb.ExplainMembershipResponse:
    """Without the definition."""
    at = timestamp(told.at)
    limits = _Limits()
    as_of, behind = timestamp(told.as_of), limits.text(told.behind)
    if not told.known:
        return pb.ExplainMembershipResponse(member=False, known=False, at=at, as_of=as_of, behind=behind)
    found = pb.ExplainMembershipResponse(
        member=told.member, known=True, at=at, since=timestamp(told.since), next_change=timestamp(told.next_flip),
        searched_until=timestamp(told.searched), condition=limits.part(told.condition, 1),
        turns=[
            pb.ConditionTurn(
                words=limits.text(turn.part.words), sql=limits.text(turn.part.sql),
                now=_TRUTHS[turn.part.holds], then=_TRUTHS[turn.then.holds],
            )
            for turn in told.turns[:PARTS_MAX]
        ],
        events=told.events, later_arrivals=told.later, profile_time=timestamp(told.profile),
        events_dropped=told.from_state, as_of=as_of, behind=behind, since_pruned=told.since_pruned,
        unless=limits.text(told.unless) if told.next_flip is not None else "",
    )  # fmt: skip
    found.truncated = limits.cut or len(told.turns) > PARTS_MAX
    return found


class _Limits:
    def __init__(self) -> None:
        self.parts, self.cut = 0, False

    def text(self, text: str) -> str:
        if len(text) <= TEXT_MAX:
            return text
        self.cut = True
        return text[: TEXT_MAX - 1] + "…"

    def part(self, part: Part, depth: int) -> pb.ConditionPart:
        self.parts += 1
        parts = []
        for each in part.parts:
            if depth >= DEPTH_MAX or self.parts >= PARTS_MAX:
                self.cut = True
                break
            parts.append(self.part(each, depth + 1))
        return pb.ConditionPart(
            kind=_KINDS[part.kind], truth=_TRUTHS[part.holds], words=self.text(part.words), sql=self.text(part.sql),
            segment=part.segment, op=part.op, values=map(self._value, part.sides), beside=map(self._value, part.beside),
            counted=map(self._counted, part.counted), parts=parts,
        )  # fmt: skip

    def _value(self, side: Side) -> pb.ConditionValue:
        return pb.ConditionValue(
            words=self.text(side.words), sql=self.text(side.sql), type=str(side.type), constant=side.constant,
            value=None if side.value is None else self.text(side.value if isinstance(side.value, str) else side.text),
        )  # fmt: skip

    def _counted(self, counted: Counted) -> pb.CountedEvents:
        return pb.CountedEvents(
            words=self.text(counted.words), sql=self.text(counted.sql), total=counted.total, deciding=counted.deciding,
            events=[pb.NamedEvent(event_id=name, event_time=timestamp(time)) for name, time in counted.events],
        )  # fmt: skip
