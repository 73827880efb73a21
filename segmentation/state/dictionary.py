"""Texts as numbers: each distinct text gets the next code, forever."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.distinct import distinct

_UNKNOWN = -2  # of a derived value that nobody asked for yet; -1 is NULL


class Dictionary:
    """values[code] is the text of a code; codes count up from 0 and are never given again, also where the
    text was forgotten ("" stands there then).

    A function of a text (a comparison with a constant, LIKE, lower) is computed once per distinct
    value that occurs and then looked up by code: `derived`.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self.values: list[str] = list(values)
        self._code: dict[str, int] = {value: code for code, value in enumerate(self.values)}
        self._forgotten: set[int] = set()
        self._derived: dict[Hashable, NDArray[np.int32]] = {}

    def __len__(self) -> int:
        return len(self.values)

    def dump(self) -> list[str | None]:
        """The values in order, None where one was forgotten."""
        if not self._forgotten:
            return list(self.values)
        return [None if code in self._forgotten else value for code, value in enumerate(self.values)]

    def restore(self, values: Sequence[str | None]) -> None:
        """Becomes a dictionary of what `dump` gave."""
        self.values = ["" if value is None else value for value in values]
        self._code = {value: code for code, value in enumerate(values) if value is not None}
        self._forgotten = {code for code, value in enumerate(values) if value is None}
        self._derived = {}

    def forget(self, codes: Iterable[int]) -> None:
        """Lets go of these texts, which nothing refers to any more; if one comes again it gets a new code."""
        for code in codes:
            if code not in self._forgotten:
                del self._code[self.values[code]]
                self.values[code] = ""
                self._forgotten.add(code)
        # What was derived from a text that is kept may be the code of one that is not.
        self._derived.clear()

    def find(self, value: str) -> int:
        """The code of a text, or -1 where it was never seen."""
        return self._code.get(value, -1)

    def code(self, value: str) -> int:
        code = self._code.get(value)
        if code is None:
            code = self._code[value] = len(self.values)
            self.values.append(value)
        return code

    def codes(self, values: Sequence[str]) -> NDArray[np.int64]:
        """The codes of many texts; new ones get the next codes, in their order."""
        found: list[int | None] = list(map(self._code.get, values))
        if None in found:
            return np.array([self.code(value) for value in values], np.int64)
        return np.array(found, np.int64)

    def derived(self, key: Hashable, function: Callable[[str], int], codes: NDArray[Any]) -> NDArray[np.int32]:
        """function(text) for each code >= 0; -1 for codes below. `key` names the function."""
        known = self._derived.get(key)
        if known is None or len(known) < len(self.values):
            grown = np.full(max(64, 2 * len(self.values)), _UNKNOWN, np.int32)
            if known is not None:
                grown[: len(known)] = known
            known = self._derived[key] = grown
        out = np.where(codes >= 0, known[codes], -1)
        if (missing := distinct(codes[out == _UNKNOWN])).size:
            known[missing] = [function(self.values[code]) for code in missing.tolist()]
            out = np.where(codes >= 0, known[codes], -1)
        return out


class Translation:
    """The codes of one dictionary as codes of another, which takes up those texts that are asked for."""

    def __init__(self, theirs: Dictionary, ours: Dictionary) -> None:
        self._theirs, self._ours = theirs, ours
        self._known = np.full(max(1, len(theirs)), _UNKNOWN, np.int64)

    def __call__(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Our code for each of their codes >= 0, in the dtype given; those below 0 stay as they are."""
        text = codes >= 0
        asked = np.zeros(len(self._known), np.bool_)
        asked[codes[text]] = True
        new = np.flatnonzero(asked & (self._known == _UNKNOWN))
        if new.size:
            values = self._theirs.values
            self._known[new] = self._ours.codes([values[code] for code in new.tolist()])
        return np.where(text, self._known[np.where(text, codes, 0)], codes).astype(codes.dtype)
