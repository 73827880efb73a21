"""From rows of the log to rows of cells: which terms each row touches, and what it adds there.

Most terms ask nothing that the index of codes does not answer and weigh a number that lies in a column: C looks them
up while it applies them (`FromLog`). For the others, and without C, it goes by pairs (row, term).
"""

from functools import partial

import numpy as np

from segmentation.compile import tree
from segmentation.evaluate.columns import Columnar
from segmentation.evaluate.deltas import Deltas
from segmentation.evaluate.index import ARRIVAL, LATE, Index, Touched
from segmentation.evaluate.rows import CellRows, FromLog, LinearRows
from segmentation.events.rows import Int64
from segmentation.native import ENABLED, code
from segmentation.state.chunks import Columns

_SAFE = 2**62
#: More different columns to weigh by than this are left to numpy, as in native/expansion.c.
_ARGUMENTS = 64


class Touching:
    """What the rows of a batch do to the cells of a plan."""

    def __init__(self, index: Index, columnar: Columnar, deltas: Deltas) -> None:
        self._index, self._columnar, self._deltas = index, columnar, deltas
        self._arguments: list[str] = []  # columns that terms are weighed by
        #: The cell of each term that C looks up, -1 for the others.
        self._cell = np.full(len(index.cell), -1, np.int64)
        # Conditions beside values of the user go through the cells level by level, which C does not.
        self._by_c = self._in_c() if ENABLED and not index.watches else None
        self._all_looked_up = bool((self._cell >= 0).all())

    def cell_rows(self, rows: Columns, phase: Int64, step: Int64) -> CellRows:
        """phase int64[m]: of the first m rows, which are changes; the others arrive. step int64[rows]."""
        # From when on a term counts, C does not ask.
        if self._by_c is not None and self._index.since is None:
            return self._apply_in_c(rows, phase, step)
        return self.by_numpy(rows, phase, step)

    def by_numpy(self, rows: Columns, phase: Int64, step: Int64) -> CellRows:
        """The slow twin of the C code, which is exact beyond 62 bits, too."""
        return self._decided(self._touched(rows, phase), rows, len(phase), step)

    def _touched(self, rows: Columns, phase: Int64) -> Touched:
        """All pairs, before anything is asked about them but their ages."""
        index, m = self._index, len(phase)
        code = rows["code"].astype(np.int64)
        touched = index.expand(np.concatenate((phase, np.full(len(code) - m, ARRIVAL))), code)
        age = rows["known"] - rows["time"]
        late = np.flatnonzero(age[m:] > 0) + m
        if late.size:
            open_still = (touched.row < m) | (age[touched.row] < index.end[touched.term])
            touched = touched.where(open_still)
            more = index.expand(np.full(len(late), LATE), code[late])
            inside = (age[late[more.row]] >= index.start[more.term]) & (age[late[more.row]] < index.end[more.term])
            touched = Touched(
                np.concatenate((touched.row, late[more.row[inside]])),
                np.concatenate((touched.term, more.term[inside])),
                np.concatenate((touched.sign, more.sign[inside])),
            )
        return touched

    def _decided(self, touched: Touched, rows: Columns, m: int, step: Int64) -> CellRows:
        """Those of the pairs that count, as rows of cells."""
        index, frame = self._index, self._columnar.frame(rows)
        touched = index.holding(index.counting(touched, rows, m), frame)
        return self._deltas.of(touched, frame, rows, step)

    def _in_c(self) -> object:
        index = self._index
        kinds = index.first_terms
        cell, weight = self._cell, np.zeros(len(index.cell), np.int64)
        argument = np.full(len(index.cell), -1, np.int64)
        for term in range(kinds[0], kinds[1]):
            name = self._weighed_by(term)
            if name is None or abs(index.coefficient[term]) >= _SAFE:
                continue
            if name and name not in self._arguments:
                if len(self._arguments) == _ARGUMENTS:
                    continue
                self._arguments.append(name)
            cell[term], weight[term] = index.cell[term], index.coefficient[term]
            argument[term] = self._arguments.index(name) if name else -1
        first, term_of, sign = index.table()
        return code.expansion(
            index.codes, len(self._arguments), first, term_of, sign, index.start, index.end, cell, weight, argument
        )

    def _weighed_by(self, term: int) -> str | None:
        """The column that a linear term is weighed by, "" for none; None where it asks for more than that."""
        index = self._index
        if index.moving[term] or index.residual[term] >= 0 or index.watch[term] >= 0:
            return None
        if index.arg[term] < 0:
            return ""
        arg = index.args[index.arg[term]]
        dtypes = self._columnar.dtypes()
        if isinstance(arg, tree.Column) and dtypes.get(f"={arg.name}") == np.int64 and f"?{arg.name}" in dtypes:
            return arg.name
        return None

    def _apply_in_c(self, rows: Columns, phase: Int64, step: Int64) -> CellRows:
        arguments = [
            np.ascontiguousarray(rows[f"{mark}{name}"], dtype)
            for name in self._arguments for mark, dtype in (("=", np.int64), ("?", np.bool_))
        ]  # fmt: skip
        time, known, at = (np.ascontiguousarray(values, np.int64) for values in (rows["time"], rows["known"], step))
        given = self._by_c, phase, np.ascontiguousarray(rows["code"], np.int32), time, known, at, arguments
        if self._all_looked_up:
            cells = CellRows.of_linear(LinearRows.none())
        else:
            cells = self._decided(Touched(*code.undecided(given)), rows, len(phase), step)
        cells.log = FromLog(given, partial(self._looked_up, rows, phase, step))
        return cells

    def _looked_up(self, rows: Columns, phase: Int64, step: Int64) -> LinearRows:
        """What C makes of `given`, by numpy."""
        touched = self._touched(rows, phase)
        touched = touched.where(self._cell[touched.term] >= 0)
        return self._deltas.counted(touched, self._columnar.frame(rows), rows, step).linear
