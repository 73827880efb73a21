"""`tidegate status`: what is wrong first, in words; then segments, shards and refused events."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from console.options import json_flag, load_settings, settings_flags
from console.output import ago, print_json, rfc3339, table
from segmentation.types import NEVER

if TYPE_CHECKING:
    from storage.status import Status

#: A live shard that is further behind than this deserves a word. Seconds.
BEHIND_S = 10
OUTBOX_LARGE = 50_000


@click.command("status")
@settings_flags("database_url")
@json_flag
def command(config: Path | None, database_url: str | None, as_json: bool) -> None:
    """What is wrong, in words; then segments with their members, shards, and refused events by reason.

    Reads PostgreSQL only, so it also answers when engine and server are down.
    Exit code 0: nothing is wrong; 1: something is; 2: it could not be found out.

    \b
    Examples:
      tidegate status
      tidegate status --json | jq '.segments[] | {segment, members}'
    """
    from storage.status import read_status

    settings = load_settings(config, database_url=database_url)
    status = read_status(settings.database_url.get_secret_value())
    wrong = problems(status)
    if as_json:
        print_json(_object(status, wrong))
    else:
        _print(status, wrong)
    raise SystemExit(1 if wrong else 0)


def problems(status: "Status") -> list[str]:
    """What an operator should know first; each says what it means and what to do."""
    found = []
    if status.clock is None:
        return ["No engine has ever run on this database. Start one with `tidegate run`."]
    found += _of_audit(status)
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


def _shards(shards: list[Any]) -> str:
    numbers = ", ".join(str(shard.shard) for shard in shards)
    return f"shard{'s' if len(shards) > 1 else ''} {numbers}"


def _print(status: "Status", wrong: list[str]) -> None:
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
    if status.segments:
        table(
            "Segments",
            ("segment", "members", "version", "state", "last change"),
            [(one.segment, one.members, one.version, one.state, one.last_change) for one in status.segments],
        )
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


def _object(status: "Status", wrong: list[str]) -> dict[str, Any]:
    from segmentation.events.rows import partition_name

    return {
        "problems": wrong,
        "clock": status.clock,
        "users": status.users,
        "scattered_users": status.scattered,
        "scattered_names": list(status.scattered_names),
        "outbox": status.outbox,
        "held": status.held,
        "segments": [
            {"segment": one.segment, "members": one.members, "version": one.version, "state": one.state,
             "owner": one.owner, "description": one.description, "last_change": one.last_change}
            for one in status.segments
        ],
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
