"""A plan as a comment of a pull request: the verdict first, one table, everything else folded."""

import re
from collections.abc import Iterator, Sequence

from console.output import rfc3339
from console.planning import words
from console.planning.model import Moves, Report, Sampled
from segmentation.compile.changes import Change, Kind

_ESCAPED = re.compile(r"([\\`*_{}\[\]<>()#+!|~&-])")


def lines(report: Report) -> Iterator[str]:
    yield "### Tidegate plan"
    yield ""
    yield f"**{text(words.verdict(report), keep_code=True)}**"
    yield ""
    yield f"{text(words.against(report))}."
    if report.coming:
        yield ""
        yield f"> {text(report.coming[:1].upper() + report.coming[1:])}."
    definitions = report.changes.definitions
    changed = [change for change in definitions if change.kind is not Kind.SAME or report.segments(change)]
    if changed:
        yield ""
        yield "| segment | change | now | after | enter | leave |"
        yield "| --- | --- | ---: | ---: | ---: | ---: |"
        for change in changed:
            yield from _rows(report, change)
    if report.changes.schema:
        yield ""
        yield "| column of schema.yml | change | read by |"
        yield "| --- | --- | --- |"
        for column in report.changes.schema:
            yield f"| {text(column.column)} | {text(column.what)} | {text(', '.join(column.readers) or '-')} |"
    if report.unknown:
        yield ""
        yield f"> Members are not known: {text(report.unknown, keep_code=True)}"
    for segment in sorted(report.moves):
        yield from _sample(report.moves[segment])
    more = [*words.cost(report)]
    if report.places:
        more += [f"Members are exact {words.as_of(report)}, over {report.users:,} users:", *words.positions(report)]
    if report.members_file:
        more.append(f"All who enter and leave are in {report.members_file}.")
    if more:
        yield from _folded("Cost, and the position of these numbers", ["```text", *more, "```"])


def _rows(report: Report, change: Change) -> Iterator[str]:
    segments = report.segments(change) if report.moves else []
    effect = "; no effect" if change.kind in (Kind.SPELLING, Kind.HEADER) and not segments else ""
    reasons = "".join(f"<br>{text(reason)}" for reason in words.reasons(change))
    what = f"{change.kind}{effect}{reasons}"
    if not segments:
        yield f"| {text(change.name)} | {what} | | | | |"
    for number, segment in enumerate(segments):
        one = report.moves[segment]
        since = "" if one.complete_since is None else f"<br>complete since {rfc3339(one.complete_since)}"
        yield (
            f"| {text(segment)} | {what if number == 0 else ''}{since} "
            f"| {one.now:,} | {one.after:,} | {one.enter:,} | {one.leave:,} |"
        )


def _sample(moves: Moves) -> Iterator[str]:
    users = [("enters", one) for one in moves.enter_sample] + [("leaves", one) for one in moves.leave_sample]
    if not users:
        return
    columns = sorted({name for _, one in users for name in one.profile})
    table = [
        f"| user | | {''.join(f'{text(name)} | ' for name in columns)}".rstrip(),
        f"| --- | --- | {'--- | ' * len(columns)}".rstrip(),
        *(_user(verb, one, columns) for verb, one in users),
    ]
    yield from _folded(
        f"{text(moves.segment)}: {moves.enter:,} enter, {moves.leave:,} leave; some of them", ["", *table]
    )


def _user(verb: str, one: Sampled, columns: Sequence[str]) -> str:
    values = "".join(f"{text(str(one.profile.get(name, '')))} | " for name in columns)
    return f"| {text(one.user_id)} | {verb} | {values}".rstrip()


def _folded(title: str, inside: Sequence[str]) -> Iterator[str]:
    yield ""
    yield f"<details><summary>{title}</summary>"
    if inside[0]:
        yield ""
    yield from inside
    yield ""
    yield "</details>"


def text(plain: str, keep_code: bool = False) -> str:
    """Nothing in it is markup, on one line. keep_code: but for `...`."""
    one_line = " ".join(plain.split())
    if keep_code:
        pieces = one_line.split("`")
        return "".join(f"`{piece}`" if number % 2 else text(piece) if piece.strip() else piece
                       for number, piece in enumerate(pieces))  # fmt: skip
    return _ESCAPED.sub(r"\\\1", one_line)
