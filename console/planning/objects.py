"""A plan for programs."""

from typing import Any

from console.output import rfc3339
from console.planning.model import Moves, Report, Sampled
from segmentation.compile.changes import Change, Kind
from segmentation.types import NEVER


def as_object(report: Report) -> dict[str, Any]:
    from segmentation.events.rows import partition_name

    deployed = report.deployed
    work, definitions = report.work, report.changes.definitions
    unchanged = [each.name for each in definitions if each.kind is Kind.SAME and not report.segments(each)]
    return {
        "differs": report.differs,
        "deployed": None if deployed is None else {
            "version": deployed.version, "by": deployed.by, "at": deployed.at.isoformat(),
        },
        "definitions": [_definition(report, each) for each in definitions if each.name not in unchanged],
        "unchanged": unchanged,
        "schema": [
            {"column": each.column, "change": each.what, "readers": list(each.readers)}
            for each in report.changes.schema
        ],
        "note": report.coming or None,
        "members_unknown": report.unknown or None,
        "users": report.users,
        "position": [
            {"shard": place.shard, "step": place.step, "as_of": _time(place.as_of),
             "offsets": {partition_name(part): offset for part, offset in sorted(place.offsets.items())}}
            for place in report.places
        ],
        "state": {
            "bytes_per_user_now": report.cost.bytes_now, "bytes_per_user_after": report.cost.bytes_after,
            "new_features": report.cost.added, "heavy": report.cost.heavy, "features_dropped": report.cost.dropped,
        },
        "rebuild": None if work is None else {"rows": work.rows, "seconds": round(work.seconds, 3)},
        "members_file": report.members_file or None,
    }  # fmt: skip


def _definition(report: Report, change: Change) -> dict[str, Any]:
    return {
        "definition": change.name,
        "change": str(change.kind),
        "header": list(change.header),
        "through": list(change.through),
        "readers": list(change.readers),
        "segments": [_moves(report.moves[segment]) for segment in report.segments(change) if segment in report.moves],
    }


def _moves(one: Moves) -> dict[str, Any]:
    return {
        "segment": one.segment, "members_now": one.now, "members_after": one.after,
        "enter": one.enter, "leave": one.leave,
        "enter_sample": [_sampled(user) for user in one.enter_sample],
        "leave_sample": [_sampled(user) for user in one.leave_sample],
        "complete_since": None if one.complete_since is None else rfc3339(one.complete_since),
        "needs_allow_incomplete": one.complete_since is not None and not one.accepted,
    }  # fmt: skip


def _sampled(one: Sampled) -> dict[str, Any]:
    return {"user_id": one.user_id, "profile": one.profile}


def _time(micros: int) -> str | None:
    return rfc3339(micros) if micros > NEVER else None
