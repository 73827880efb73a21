"""Sentences of a plan that the text and the markdown have in common."""

from collections.abc import Iterator

from console.output import rfc3339
from console.planning.model import Report
from segmentation.compile.changes import Change, Kind
from segmentation.types import NEVER


def against(report: Report) -> str:
    if report.deployed is None:
        return f"{report.folder} against nothing: no definitions are deployed yet"
    one = report.deployed
    return f"{report.folder} against version {one.version}, deployed by {one.by} on {one.at:%Y-%m-%d %H:%M:%S}Z"


def verdict(report: Report) -> str:
    """The whole in one sentence."""
    if not report.differs:
        texts = sum(change.kind is not Kind.SAME for change in report.changes.definitions)
        if not texts:
            return "No difference."
        return (
            f"No difference for any user: {definitions(texts)} changed in spelling or header only. "
            "`tidegate apply` stores the texts."
        )
    changed = [change for change in report.changes.definitions if change.affected]
    said = [f"{definitions(len(changed))} of {len(report.changes.definitions)} changed"] if changed else []
    if report.changes.schema:
        columns = len(report.changes.schema)
        said.append(f"{columns} column{'s' * (columns != 1)} of schema.yml changed")
    if report.moves:
        enter, leave = (sum(getattr(one, side) for one in report.moves.values()) for side in ("enter", "leave"))
        said.append(f"{enter:,} entries and {leave:,} exits")
    return f"{'; '.join(said)}."


def definitions(count: int) -> str:
    return f"{count} definition{'s' * (count != 1)}"


def reasons(change: Change) -> Iterator[str]:
    """What else there is to say of a definition, a line each."""
    if change.through:
        yield f"through {', '.join(change.through)}"
    if change.header:
        yield f"header: {', '.join(change.header)}"
    if change.readers and change.affected:
        yield f"read by {', '.join(change.readers)}, which change with it"


def as_of(report: Report) -> str:
    """The instant of the numbers."""
    known = sorted(place.as_of for place in report.places if place.as_of > NEVER)
    if not known:
        return "before the first event"
    until = f" to {rfc3339(known[-1])}, by shard" if known[-1] != known[0] else ""
    return f"as of {rfc3339(known[0])}{until}"


def positions(report: Report) -> Iterator[str]:
    """The place in the log, a line for each shard."""
    from segmentation.events.rows import partition_name

    for place in report.places:
        offsets = " ".join(f"{partition_name(part)}:{offset}" for part, offset in sorted(place.offsets.items()))
        watermark = rfc3339(place.as_of) if place.as_of > NEVER else "none"
        yield f"shard {place.shard}: step {place.step}, watermark {watermark}, offsets {offsets or 'none'}"


def cost(report: Report) -> Iterator[str]:
    """State and time, a line each."""
    state = report.cost
    if state.added or state.dropped:
        more = state.bytes_after - state.bytes_now
        yield (
            f"State: {state.bytes_now:,} bytes per user now, {state.bytes_after:,} after ({more:+,}); "
            f"{len(state.added)} new feature{'s' * (len(state.added) != 1)}, {state.dropped} no longer needed."
        )
        yield from (f"  new: {text}" for text in state.added)
        yield from (f"  heavy: {text}" for text in state.heavy)
    elif report.changes.affected:
        yield f"State: {state.bytes_now:,} bytes per user, now and after; everything needed is kept already."
    if report.work is not None:
        rows, seconds = report.work.rows, report.work.seconds
        speed = f" ({rows / seconds:,.0f} a second)" if seconds > 0 and rows else ""
        yield (
            f"Rebuild: {rows:,} archived rows were read in {seconds:.1f} s here, on one core{speed}; "
            "the engine takes about as long for it, beside its other work and while it goes on answering."
        )
