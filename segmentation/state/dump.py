"""State as bytes: msgpack, with arrays as they lie in memory.

With many users a state is hundreds of megabytes of arrays, and whoever takes it keeps events waiting. So large arrays
are copied once, from where they are into the bytes, and many texts are listed in C; the slow twin leaves both to
msgpack, which copies arrays into bytes of its own.
"""

from typing import Any

import msgspec
import numpy as np

from segmentation.native import ENABLED, code

_ARRAY, _TEXTS = 1, 2
#: Bytes of an array that is a piece of its own; and parts of a dict or a list that is looked through for such.
_LARGE, _PARTS = 1 << 16, 64
#: What msgpack begins an extension with of so many bytes; and maps and lists, of fewer than 16 parts and of more.
_EXTENSION, _MAP, _LIST = b"\xc9", (0x80, 0xDE), (0x90, 0xDC)


def pack(state: Any) -> bytes:
    """Numbers, strings, lists, dicts and numpy arrays (object arrays of str) as bytes."""
    if not ENABLED:
        return slowly_packed(state)
    pieces: list[bytes | memoryview] = []
    _put(state, pieces)
    return code.joined_bytes(pieces)


def slowly_packed(state: Any) -> bytes:
    """The same bytes."""
    return msgspec.msgpack.encode(state, enc_hook=_encode)


def unpack(data: bytes) -> Any:
    return msgspec.msgpack.decode(data, ext_hook=_decode, strict=False)


def _put(value: Any, pieces: list[bytes | memoryview]) -> None:
    kind = type(value)
    if kind is dict and len(value) <= _PARTS:
        pieces.append(_head(_MAP, len(value)))
        for key, part in value.items():
            pieces.append(msgspec.msgpack.encode(key))
            _put(part, pieces)
    elif kind in (list, tuple) and len(value) <= _PARTS:
        pieces.append(_head(_LIST, len(value)))
        for part in value:
            _put(part, pieces)
    elif kind is msgspec.Raw:
        pieces.append(memoryview(value))
    elif kind is np.ndarray and value.dtype != object and value.nbytes >= _LARGE:
        head, content = _parts(value)
        length = (len(head) + content.nbytes).to_bytes(4, "big")
        pieces += [_EXTENSION + length + _ARRAY.to_bytes(1, "big") + head, content]
    elif kind is np.ndarray and value.dtype == object and value.ndim == 1 and (texts := _texts(value)) is not None:
        pieces += [_EXTENSION + len(texts).to_bytes(4, "big") + _TEXTS.to_bytes(1, "big"), texts]
    else:
        pieces.append(slowly_packed(value))


def _head(kind: tuple[int, int], parts: int) -> bytes:
    """Of a map or a list of at most `_PARTS`."""
    return bytes([kind[0] | parts]) if parts < 16 else bytes([kind[1], 0, parts])


def _texts(array: np.ndarray[Any, np.dtype[Any]]) -> bytes | None:
    """Where they are many, and ASCII."""
    texts = code.listed_texts(np.ascontiguousarray(array))
    return texts if texts is not None and len(texts) >= _LARGE else None


def _parts(array: np.ndarray[Any, np.dtype[Any]]) -> tuple[bytes, memoryview]:
    head = msgspec.msgpack.encode((array.dtype.str, array.shape))
    return len(head).to_bytes(4, "big") + head, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return msgspec.msgpack.Ext(_TEXTS, msgspec.msgpack.encode(value.tolist()))
        return msgspec.msgpack.Ext(_ARRAY, b"".join(_parts(value)))
    if isinstance(value, np.integer):
        return int(value)
    raise TypeError(f"{type(value).__name__} is not part of a state")


def _decode(kind: int, data: memoryview) -> Any:
    if kind == _TEXTS:
        texts = msgspec.msgpack.decode(data)
        out = np.empty(len(texts), object)
        out[:] = texts
        return out
    size = int.from_bytes(data[:4], "big")
    dtype, shape = msgspec.msgpack.decode(data[4 : 4 + size])
    return np.frombuffer(data[4 + size :], dtype=np.dtype(dtype)).reshape(shape).copy()
