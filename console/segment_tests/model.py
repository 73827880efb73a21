"""A test file as it is written, before anybody asks what its names mean.

    clock: 2026-03-01T00:00:00Z                 # what -30d and +1h count from; this is also the default's form
    tests:
      two orders reach 500 together:
        events:
        - {user: ann, type: purchase, at: -29d, amount: 300}
        - {user: ann, type: purchase, at: -1d, amount: 200}
        members:
          big_spenders: {now: [ann], +1d: []}   # nobody else is in at that instant
        transitions:
          big_spenders:
            ann: {-1d: enters, +1d: leaves}     # and there are no others, until the last time that is named

`members` of a segment may also be a list, which is for `now`. Of a definition with bands both may name
the bands: `recency: {now: {ann: 31-60}}` and `recency: {ann: {-1d: 0-30, +30d: 31-60, +60d: none}}`.
`read_file(text, file)` gives a `Written`, or raises TestFileErrors with all that its form has wrong.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from console.segment_tests.problems import Problem, TestFileErrors
from segmentation.compile.suggest import closest
from segmentation.events.yaml_lines import Document, Way, YamlError, read

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_STRICT = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Entry(BaseModel):
    """One test. Times and columns are still as they were written."""

    model_config = _STRICT

    description: StrictStr = ""
    clock: StrictStr | None = None
    events: list[dict[str, Any]] = Field(default_factory=list)
    profiles: list[dict[str, Any]] = Field(default_factory=list)
    members: dict[str, list[Any] | dict[str, Any]] = Field(default_factory=dict)
    transitions: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    until: StrictStr | None = None


class File(BaseModel):
    """A file of tests, each under its name."""

    model_config = _STRICT

    description: StrictStr = ""
    clock: StrictStr | None = None
    tests: dict[str, Entry] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Written:
    file: str
    document: Document
    content: File

    def problem(self, way: Way, reason: str, remedy: str) -> Problem:
        return Problem(self.file, self.document.line(way), reason, remedy)


#: What stands where, for those who put something else there.
_FORMS = {
    "description": 'a text: description: "What this is about"',
    "clock": "a time: clock: 2026-03-01T00:00:00Z",
    "until": "a time: until: +90d",
    "events": "a list of events: - {user: ann, type: purchase, at: -30d, amount: 9.99}",
    "profiles": "a list of profiles: - {user: ann, city_tier: 1}",
    "members": "segments with their members: big_spenders: {now: [ann, bob], +1d: []}",
    "transitions": "segments with users and their times: big_spenders: {ann: {-1d: enters, +29d: leaves}}",
    "tests": "tests by their names, with events and members below each",
}


def read_file(text: str, file: str) -> Written:
    try:
        document = read(text)
    except YamlError as error:
        raise TestFileErrors([Problem(file, error.line, error.reason, error.remedy)]) from None
    try:
        content = File.model_validate(document.data)
    except ValidationError as error:
        found: dict[Way, Problem] = {}
        for details in error.errors(include_url=False):
            # Beyond the third step there are branches of unions; the first problem of a place is enough.
            way = tuple(details["loc"])[:3] if details["loc"][:1] == ("tests",) else tuple(details["loc"])[:1]
            found.setdefault(way, Problem(file, document.line(tuple(details["loc"])), *_said(details, way)))
        raise TestFileErrors(list(found.values())) from None
    return Written(file, document, content)


def _said(details: "ErrorDetails", way: Way) -> tuple[str, str]:
    model: type[BaseModel] = Entry if len(way) == 3 else File
    if details["type"] == "extra_forbidden":
        near = closest(str(way[-1]), model.model_fields)
        known = ", ".join(model.model_fields)
        return f"there is no key `{way[-1]}` here.", f"Did you mean {near}?" if near else f"There are {known}."
    if details["type"] == "missing" or not way:
        return "the file has no tests.", "Write `tests:`, and below it each test under its name."
    if len(way) == 2:
        return f"the test `{way[1]}` is empty or no mapping.", "Write `events:` and `members:` below it."
    name = str(way[-1])
    return f"this is not what `{name}` holds.", f"Write {_FORMS[name]}."
