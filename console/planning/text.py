"""A plan for the terminal."""

from collections.abc import Iterator

from console.output import rfc3339
from console.planning import words
from console.planning.model import Moves, Report, Sampled
from segmentation.compile.changes import Change, Kind

_SIGNS = {
    Kind.ADDED: "+", Kind.ENABLED: "+", Kind.REMOVED: "-", Kind.DISABLED: "-", Kind.MEANING: "~", Kind.THROUGH: "~",
    Kind.SPELLING: "=", Kind.HEADER: "=", Kind.SAME: "=",
}  # fmt: skip


def lines(report: Report) -> Iterator[str]:
    yield f"Plan: {words.against(report)}."
    if report.coming:
        yield f"Note: {report.coming}."
    for change in report.changes.definitions:
        if change.kind is not Kind.SAME or report.segments(change):
            yield ""
            yield from _definition(report, change)
    same = sum(change.kind is Kind.SAME and not report.segments(change) for change in report.changes.definitions)
    if same:
        yield ""
        yield f"  {words.definitions(same)} unchanged."
    if report.changes.schema:
        yield ""
        yield "schema.yml (events in the archive keep the values that were read from them when they came):"
        for column in report.changes.schema:
            readers = f"; read by {', '.join(column.readers)}" if column.readers else ""
            yield f"  {column.column}: {column.what}{readers}"
    if report.places:
        yield ""
        yield f"Members are exact {words.as_of(report)}, over {report.users:,} users:"
        yield from (f"  {line}" for line in words.positions(report))
    elif report.unknown:
        yield ""
        yield f"Members are not known: {report.unknown}"
    cost = list(words.cost(report))
    if cost:
        yield ""
        yield from cost
    if report.members_file:
        yield f"All who enter and leave are in {report.members_file}."
    yield ""
    yield words.verdict(report)


def _definition(report: Report, change: Change) -> Iterator[str]:
    effect = " (no effect)" if change.kind in (Kind.SPELLING, Kind.HEADER) and not report.segments(change) else ""
    yield f"{_SIGNS[change.kind]} {change.name}: {change.kind}{effect}"
    yield from (f"    {reason}" for reason in words.reasons(change))
    for segment in report.segments(change):
        if segment in report.moves:
            yield from _segment(report.moves[segment], named=segment != change.name)


def _segment(moves: Moves, named: bool) -> Iterator[str]:
    name = f"{moves.segment}: " if named else ""
    yield f"    {name}{moves.now:,} members now, {moves.after:,} after: {moves.enter:,} enter, {moves.leave:,} leave"
    for verb, total, sample in (
        ("enter", moves.enter, moves.enter_sample), ("leave", moves.leave, moves.leave_sample),
    ):  # fmt: skip
        if sample:
            more = f", and {total - len(sample):,} more" if total > len(sample) else ""
            yield f"      {verb}: {', '.join(map(_sampled, sample))}{more}"
    if moves.complete_since is not None:
        remedy = "as it is now" if moves.accepted else "`tidegate apply` takes it with --allow-incomplete only"
        yield f"      history is missing: complete_since {rfc3339(moves.complete_since)}; {remedy}"


def _sampled(one: Sampled) -> str:
    profile = ", ".join(f"{name} {value}" for name, value in one.profile.items())
    return f"{one.user_id} ({profile})" if profile else one.user_id
