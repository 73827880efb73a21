"""The contracts of the C functions. Arrays are contiguous, of one dimension and exactly the dtype given; another
raises TypeError, one of a wrong length ValueError."""

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from segmentation.events.rows import Bool, Int32, Int64

VERSION: int

def wanted() -> bool:
    """False with TIDEGATE_NATIVE=0 in the environment."""

def stable_order(keys: NDArray[Any]) -> Int64:
    """keys int64[n]: where each of the sorted keys comes from, int64[n]; equal ones stay in order."""

def places_of(sorted: Int64, wanted: Int64) -> Int64:
    """The places in `sorted` (ascending) of all that are among `wanted` (ascending, distinct)."""

def joined_bytes(pieces: list[bytes | memoryview], /) -> bytes:
    """b"".join(pieces), in large pages where it is large; others go on meanwhile, who must not write into a piece."""

def listed_texts(texts: NDArray[Any], /) -> bytes | None:
    """A list of these objects, texts or None, in msgpack. None where one is something else, or not ASCII."""

class Records:
    """As dict[bytes, bytes], in less memory; iterating goes over the keys of the moment."""

    def get(self, key: bytes, /) -> bytes | None: ...
    def keys(self) -> list[bytes]: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __getitem__(self, key: bytes, /) -> bytes: ...
    def __setitem__(self, key: bytes, record: bytes, /) -> None: ...
    def __delitem__(self, key: bytes, /) -> None: ...

class Ids:
    """Texts (valid UTF-8) and their numbers, 0, 1, 2 ... in order of first sight: see segmentation.state.users.

    bits: how much of a hash is used, for tests that want them to meet."""

    def __init__(self, bits: int = 32, /) -> None: ...
    def __len__(self) -> int: ...
    def find(self, text: str, /) -> int:
        """-1 where it is not known."""

    def numbers(self, texts: list[str], places: Int64 | None = None, /) -> Int64:
        """New ones get the next numbers. places: of those in the list that are asked for, in this order; IndexError for
        one that is not there. OverflowError beyond int32; of what came before an error all is kept."""

    def names(self, numbers: Int64, /) -> list[str]:
        """"" where it was forgotten; IndexError for a number that was not given, here and below."""

    def packed(self, numbers: Int64, /) -> tuple[Int32, bytes] | None:
        """The same as `packed_texts` of the names, which may be other than ASCII. None: too long for int32."""

    def forget(self, numbers: Int64, /) -> None: ...
    def all(self) -> list[str | None]: ...
    def saved(self) -> bytes:
        """`all` in msgpack."""

    def restore(self, texts: list[str | None], /) -> None:
        """Only these, in this order; ValueError for one that is there twice."""

    def farthest(self) -> int:
        """How many places a look-up passes, at most: small, whatever the texts are."""

def batch_answer(
    request: bytes, pairs_max: int, users: Records, ahead: Records, as_of: dict[bytes, bytes],
    spelled: dict[bytes, int], places: NDArray[Any], definitions: tuple[bytes, ...], bitmap_bytes: int,
) -> bytes | None:
    """BatchCheckMembershipResponse of a BatchCheckMembershipRequest; None where it holds what is not known, more than
    pairs_max pairs, or another spelling than the usual one. users: records (grpc_server/records.py) by id; ahead:
    timestamps (12 bytes) of those whose as_of is later than as_of[shard]; places int32[n], definitions: n of them."""

def message_shape(
    nodes: tuple[tuple[tuple[bytes, int, int], ...], ...],
    spans: int,
    columns: tuple[tuple[int, int, bool, bool, int, int, int], ...],
) -> object:
    """What decode_messages reads. nodes: per JSON object, the message itself first, its keys of interest, none with a
    quote, a backslash or a control character: (key, number of the value, -1) or (key, -1, number of the object, which
    is higher than that of the one it is in). columns: (type as in segmentation.events.quick, number of the value or
    -1 for an event id that messages do not have, required, empty_as_null, precision, scale, 0 where a time needs a
    zone, 1 where it is UTC's, 2 where it is another's)."""

def decode_messages(
    shape: object, values: list[bytes | None], event_ids: list[str] | None, arrays: tuple[tuple[NDArray[Any], ...], ...]
) -> tuple[list[int], list[Any]]:
    """Fills arrays of n items, from n messages, and gives (the messages that it leaves, and of which the arrays mean
    nothing, ascending; per column what there is besides). Per column the arrays are: of a text (int32 codes), -1 for
    NULL, besides: its texts, distinct, by code; of event_id (objects); of a boolean (data, bool valid), of another
    (int64 data, bool valid), and of a time bool besides, to be zeros before: it has no zone, and with zone 2 data is
    what its clock shows. A double is in its 64 bits. Besides: whether something may be NULL."""

def shards_of_users(users: list[str], shards: int) -> Int64:
    """Per user the XXH3 (64 bit) of the UTF-8 id, modulo shards; -1 where the id is not ASCII or longer than 128."""

def numbered_texts(prefix: str, numbers: Int64) -> list[str]:
    """prefix, which is ASCII, followed by each number, none below 0, in decimal digits."""

def cells(
    family: Int64, slot: Int64, width: Int64, template: Int64, first: Int64, bound: Int64, signal: Int64
) -> object:
    """What cells_apply needs of a plan. family, slot [cells]; width [families]; template: the first content of
    each family's blocks, one after the other; first [cells + 1]: each cell's stretch of bound and signal
    [thresholds], ascending. |bound| < 2**62. ValueError for what does not belong together."""

def cells_apply(
    cells: object, rows: tuple[Any, ...] | None, cell: Int64, step: Int64, delta: Int64, user: Int64, block: Int32,
    data: Int64, used: int, settled: bool,
) -> tuple[int, tuple[Int64, Int64, Bool], tuple[Int64, Int64, Int64] | None] | int | None:  # fmt: skip
    """Adds delta to the cells of the steps' users: cell, step, delta [n]; user [steps], ascending. rows: of the log, as
    for `undecided`, of which what is decided is added, too. block [users * families]: where each user's values begin
    in data, -1 for nowhere yet; both are written to.

    Returns (used, (signal, step, holds) of the flips in order of step, (key, value, before) as in Settled if
    `settled`). Or, nothing being done, how long `data` must be; or None where a value does not fit."""

def gates(
    level: Int64, need: Int64, signal: Int64, start: Int64, first: Int64, gate: Int64, sign: Int64,
    root: Int64, segment: Int64, root_sign: Int64, segments: int,
) -> object:  # fmt: skip
    """What gates_apply needs of a plan. [gates]: level (from 1), need (the value from which it holds), signal (its own)
    and start (its value at first); first [signals + 1]: each signal's stretch of gate and sign [inputs]; root
    [signals + 1] likewise of segment and root_sign. ValueError for what does not belong together."""

def gates_apply(
    gates: object, signal: Int64, step: Int64, holds: Bool, user: Int64, block: Int32, data: NDArray[Any], used: int
) -> tuple[int, tuple[Int64, Int64, Bool]] | int:
    """signal, step, holds [n]: flips; user [steps]; block [users], data (int16 or int32): see cells_apply.

    Returns (used, (segment, step, entered) in order of step and segment), or how long `data` must be."""

def expansion(
    codes: int, arguments: int, first: Int64, term: Int64, sign: Int64, start: Int64, end: Int64, cell: Int64,
    weight: Int64, argument: Int64,
) -> object:  # fmt: skip
    """What `expand` needs of a plan. first [phases * codes + 1]: the stretch of term and sign [entries] for each phase
    and code; [terms]: start, end (ages, µs), cell (-1: given back as pairs), weight, argument (-1: none)."""

def undecided(rows: tuple[Any, ...]) -> tuple[Int64, Int64, Int64]:
    """rows: (expansion, phase [m]: of the first m rows, the others arrive; code int32, time, known, step [rows];
    arguments: a list, for each its data (int64) and where it is valid (bool)).

    (row, term, sign) of the pairs for others to decide, in order of row."""

def known_at(user: Int64, time: Int64, watermark: Int64, newest: Int64) -> Int64:
    """See segmentation.evaluate.arrivals.known_at; newest [users] is written to. ValueError for a user beyond it."""

def due_rows(
    at: Int64, known: Int64, user: Int32, applied: Int64, reached: Int64, watermark: int, since: int
) -> Int64:
    """See segmentation.evaluate.due.due_rows; applied, reached [users]. ValueError for a user beyond them."""

def reach(user: Int64, known: Int64, applied: Int64, reached: Int64) -> Bool:
    """See segmentation.evaluate.due.reach; applied, reached [users]. ValueError for a user beyond them, here and below,
    and then nothing is written."""

def move_up(user: Int64, applied: Int64, reached: Int64) -> None:
    """See segmentation.evaluate.due.move_up."""

def steps_of(
    change_user: Int64, change_at: Int64, event_user: Int64, event_at: Int64
) -> tuple[Int64, Int64, Bool, Int64, Int64] | None:
    """The fields of segmentation.evaluate.steps.Steps; None where instants are too far apart for one key."""

def codes_of(texts: list[str | None]) -> tuple[Int32, list[str]]:
    """The code of each text, -1 for None, and what the codes mean, in order of first sight. TypeError for others."""

def packed_texts(texts: NDArray[Any]) -> tuple[Int32, bytes] | None:
    """texts objects[n]: where each begins, and the last one ends, [n + 1], in their bytes one after the other. None
    where one is not a text, not ASCII, or all are too long for int32."""
