"""A deployment's state: what is wrong, in words, first; then tables for people, an object for programs.

`problems`, `lines` and `as_object` are of one `storage.status.Status`, for `tidegate status` and `tidegate watch`.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from console.output import ago, rfc3339, table
from segmentation.compile.suggest import listed
from segmentation.types import NEVER

if TYPE_CHECKING:
    from storage.deployments import Deployment
    from storage.status import Status

#: A live shard that is further behind than this deserves a word. Seconds.
BEHIND_S = 10
OUTBOX_LARGE = 50_000


def problems(status: "Status") -> list[str]:
    """What an operator should know first; each says what it means and what to do."""
    found = []
    if status.clock is None:
        return ["No engine has ever run on this database. Start one with `tidegate run`."]
    found += _of_audit(status)
    found += _of_holds(status)
    if status.clock == "live":
        behind = [shard for shard in status.shards if status.now - shard.watermark > BEHIND_S * 1_000_000]
        # The engine writes at least every few seconds while it runs, also when no event arrives.
        silent = [shard for shard in behind if shard.updated_s > BEHIND_S]
        moving = [shard for shard in behind if shard.updated_s <= BEHIND_S]
        if silent:
            longest = max(shard.updated_s for shard in silent)
            found.append(
                f"The engine has written nothing for {ago(status.now - int(longest * 1_000_000), status.now)} "
                f"({_shards(silent)}). Membership stands still. Is `tidegate run` running, and can it reach Kafka?"
            )
        if moving:
            oldest = min(shard.watermark for shard in moving)
            age = "at the beginning of its topic" if oldest <= NEVER else f"{ago(oldest, status.now)} behind"
            found.append(
                f"The engine is {age} ({_shards(moving)}). It is catching up, or a partition's events are late."
            )
    if status.outbox > OUTBOX_LARGE:
        found.append(
            f"{status.outbox:,} messages wait to be sent to Kafka. Is Kafka reachable for the engine, and fast enough?"
        )
    if status.held:
        found.append(
            f"Kafka refuses {status.held:,} messages ({status.held_reason}). They wait, each with its user's later "
            "ones. The engine's log names the topic: raise its max.message.bytes."
        )
    recent = [refused for refused in status.refused if refused.recent]
    if recent:
        worst = max(recent, key=lambda refused: refused.recent)
        found.append(
            f"{sum(refused.recent for refused in recent):,} events were refused in the last hour, most often: "
            f"{worst.reason}. See `tidegate dead-letter list --reason {worst.reason}`."
        )
    return found


def _of_audit(status: "Status") -> list[str]:
    audit = status.audit
    if audit is None:
        return []
    found = []
    if audit.open:
        one = audit.some[0]
        stored, judged = ("in" if one.stored else "not in"), ("in" if one.judged else "not in")
        found.append(
            f"{audit.open:,} answers are WRONG, the audit says. The first: user {one.user_id} is stored as {stored} "
            f"{one.segment}, and DuckDB says {judged}, as of {rfc3339(one.as_of)}. `tidegate test` with "
            f"{one.file} (below storage_url) reproduces it; `tidegate run --rebuild` mends what is stored."
        )
    if audit.failure:
        found.append(f"The audit could not be done: {audit.failure}")
    return found


def _of_holds(status: "Status") -> list[str]:
    found = []
    if status.silent:
        numbers = ", ".join(map(str, status.silent))
        found.append(
            f"No events come on partition{'s' * (len(status.silent) > 1)} {numbers} of the topic, which had some. Do "
            "the producers run? Until they do, what time does to these users is guarded."
        )
    for one in status.segments:
        if one.held_since is None:
            continue
        others = [name for name in one.held_because if name != one.segment]
        itself = one.segment in one.held_because
        why = "events do not come, and more of its members would flip by time alone than `guard` lets"
        found.append(
            f"{one.segment} is HELD: its answers are those of {one.held_since:%Y-%m-%d %H:%M:%S}, because "
            f"{why if itself else f'it is built on {listed(others)}'}. {one.waiting[0]:,} would enter and "
            f"{one.waiting[1]:,} leave. It goes on by itself once the events are back and fewer would; "
            f"`tidegate release {one.segment if itself else others[0]}` publishes them now."
        )
    return found


def oldest(status: "Status") -> int:
    """Up to when every shard's answers are complete, µs."""
    return min((shard.watermark for shard in status.shards), default=NEVER)


def _work(status: "Status") -> float:
    return sum(one.pairs or 0.0 for one in status.segments) or 1.0


def _build(one: "Deployment") -> str:
    done = "" if one.progress is None else f", {one.progress[0]:,} of {one.progress[1]:,} rows"
    what = "is built, and follows the engine until its switch" if one.ready else f"is being built{done}"
    return f"Version {one.version} of the definitions, by {one.by}, {what}; until then the one before goes on counting."


def _deployment(one: "Deployment | None") -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "version": one.version, "by": one.by, "at": one.at, "state": one.state, "ready": one.ready,
        "rows_done": None if one.progress is None else one.progress[0],
        "rows": None if one.progress is None else one.progress[1], "waited_seconds": one.waited,
    }  # fmt: skip


def _shards(shards: list[Any]) -> str:
    numbers = ", ".join(str(shard.shard) for shard in shards)
    return f"shard{'s' if len(shards) > 1 else ''} {numbers}"


def show(status: "Status", wrong: list[str]) -> None:
    """On stdout."""
    from segmentation.events.rows import partition_name

    for problem in wrong:
        click.secho(f"! {problem}", fg="red", bold=True)
    if not wrong:
        click.secho("All is well.", fg="green")
    click.echo(f"{status.users:,} users known; {status.outbox:,} messages wait to be sent to Kafka.\n")
    if status.scattered:
        more = "" if status.scattered <= len(status.scattered_names) else " ..."
        click.echo(
            f"Events of {status.scattered:,} users came in more than one partition ({', '.join(status.scattered_names)}"
            f"{more}): they may overtake each other. Do all producers use the key user_id and Java's partitioner?\n"
        )
    if status.audit is not None and status.audit.rounds:
        click.echo(
            f"Audit: {status.audit.answers:,} answers compared with DuckDB so far, {status.audit.mismatches:,} wrong, "
            f"{status.audit.skipped:,} not comparable for want of history.\n"
        )
    if status.deployed is not None:
        waited = status.deployed.waited
        said = "" if waited is None else f"; for its switch events waited {waited:.1f} s"
        click.echo(f"Definitions: version {status.deployed.version}, by {status.deployed.by}{said}.\n")
    if status.building is not None:
        click.echo(f"{_build(status.building)}\n")
    if status.segments:
        whole = _work(status)
        table(
            "Segments",
            ("segment", "members", "version", "state", "in/min", "out/min", "behind", "work", "bytes", "last change"),
            [
                (
                    one.segment, one.members, one.version, one.state, f"{one.entered:,.0f}", f"{one.left:,.0f}",
                    ago(oldest(status), status.now), "-" if one.pairs is None else f"{one.pairs / whole:.1%}",
                    None if one.bytes is None else round(one.bytes), one.last_change,
                )
                for one in status.segments
            ],
        )  # fmt: skip
        click.echo()
    if status.shards:
        table(
            "Shards",
            ("shard", "watermark behind", "written before", "step", "offsets"),
            [
                (
                    one.shard, ago(one.watermark, status.now), f"{one.updated_s:.1f} s", one.step,
                    " ".join(f"{partition_name(part)}:{offset}" for part, offset in sorted(one.offsets.items())),
                )
                for one in status.shards
            ],
        )  # fmt: skip
    if status.refused:
        click.echo()
        table(
            "Refused events",
            ("reason", "total", "last hour", "latest"),
            [(one.reason, one.total, one.recent, one.last) for one in status.refused],
        )


def as_object(status: "Status", wrong: list[str]) -> dict[str, Any]:
    """For programs."""
    from segmentation.events.rows import partition_name

    return {
        "problems": wrong,
        "clock": status.clock,
        "users": status.users,
        "scattered_users": status.scattered,
        "scattered_names": list(status.scattered_names),
        "silent_partitions": list(status.silent),
        "outbox": status.outbox,
        "held": status.held,
        "segments": [
            {"segment": one.segment, "members": one.members, "version": one.version, "state": one.state,
             "owner": one.owner, "description": one.description, "last_change": one.last_change,
             "complete_since": one.complete_since, "held_since": one.held_since,
             "held_because": list(one.held_because), "would_enter": one.waiting[0], "would_leave": one.waiting[1],
             "entered_per_minute": one.entered, "left_per_minute": one.left,
             "behind_seconds": (status.now - oldest(status)) / 1_000_000 if oldest(status) > NEVER else None,
             "work_share": None if one.pairs is None else one.pairs / _work(status), "state_bytes": one.bytes}
            for one in status.segments
        ],
        "deployed": _deployment(status.deployed),
        "building": _deployment(status.building),
        "shards": [
            {"shard": one.shard, "watermark": rfc3339(one.watermark) if one.watermark > NEVER else None,
             "watermark_age_seconds": (status.now - one.watermark) / 1_000_000 if one.watermark > NEVER else None,
             "written_seconds_ago": one.updated_s, "step": one.step,
             "offsets": {partition_name(part): offset for part, offset in one.offsets.items()}}
            for one in status.shards
        ],
        "audit": None if status.audit is None else {
            "rounds": status.audit.rounds, "users": status.audit.users, "answers": status.audit.answers,
            "skipped": status.audit.skipped, "mismatches": status.audit.mismatches, "open": status.audit.open,
            "mismatch_rate": status.audit.mismatches / status.audit.answers if status.audit.answers else 0.0,
            "unjudged": list(status.audit.unjudged), "last": status.audit.last_at, "failure": status.audit.failure,
            "some": [asdict(one) | {"as_of": rfc3339(one.as_of)} for one in status.audit.some],
        },
        "refused": [
            {"reason": one.reason, "total": one.total, "last_hour": one.recent, "latest": one.last}
            for one in status.refused
        ],
    }  # fmt: skip
