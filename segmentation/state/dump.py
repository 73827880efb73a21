"""State as bytes: msgpack, with arrays as they lie in memory."""

from typing import Any

import msgspec
import numpy as np

_ARRAY, _TEXTS = 1, 2


def pack(state: Any) -> bytes:
    """Numbers, strings, lists, dicts and numpy arrays (object arrays of str) as bytes."""
    return msgspec.msgpack.encode(state, enc_hook=_encode)


def unpack(data: bytes) -> Any:
    return msgspec.msgpack.decode(data, ext_hook=_decode, strict=False)


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return msgspec.msgpack.Ext(_TEXTS, msgspec.msgpack.encode(value.tolist()))
        head = msgspec.msgpack.encode((value.dtype.str, value.shape))
        content = np.ascontiguousarray(value).reshape(-1).view(np.uint8)  # of many users much: copied once
        return msgspec.msgpack.Ext(_ARRAY, b"".join((len(head).to_bytes(4, "big"), head, content.data)))
    if isinstance(value, np.integer):
        return int(value)
    raise TypeError(f"{type(value).__name__} is not part of a state")


def _decode(code: int, data: memoryview) -> Any:
    if code == _TEXTS:
        texts = msgspec.msgpack.decode(data)
        out = np.empty(len(texts), object)
        out[:] = texts
        return out
    size = int.from_bytes(data[:4], "big")
    dtype, shape = msgspec.msgpack.decode(data[4 : 4 + size])
    return np.frombuffer(data[4 + size :], dtype=np.dtype(dtype)).reshape(shape).copy()
