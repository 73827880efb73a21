"""Names for the shards that spread evenly over Bytewax's workers.

Bytewax sends a key to worker `hash(key) % workers`, the hash being Rust's `DefaultHasher`:
SipHash-1-3 with zero keys over the UTF-8 bytes and 0xff. With freely chosen names few shards
spread badly, so names are searched for: shard i of S goes to worker i % W, for every W that is a
power of two up to S, and for 3 and 5 where S is small enough for the search to be quick.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

UInt64 = NDArray[np.uint64]

_MASK = (1 << 64) - 1
_INIT = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


def rust_hash(key: str) -> int:
    """What Rust's `DefaultHasher` gives for a `str`."""
    data = key.encode() + b"\xff"
    whole = len(data) // 8 * 8
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    return int(_siphash([np.array([word], np.uint64) for word in words])[0])


@lru_cache(maxsize=8)
def shard_keys(shards: int) -> tuple[str, ...]:
    """The Bytewax key of every shard; the same in every process, forever."""
    power = 1 << (shards - 1).bit_length()
    modulus = power * (15 if power <= 64 else 1)
    return tuple(_search(f"shard{shard:06d}", modulus, shard) for shard in range(shards))


@lru_cache(maxsize=64)
def worker_key(worker: int, workers: int) -> str:
    """A key that goes to the given worker."""
    return _search(f"worker{worker:05d}", workers, worker)


def worker_of(key: str, workers: int) -> int:
    return rust_hash(key) % workers


def _search(prefix: str, modulus: int, remainder: int) -> str:
    """The first `prefix-nnnn` (n hex) whose hash has that remainder; the prefix has 11 characters."""
    assert len(prefix) == 11
    first = int.from_bytes(prefix[:8].encode(), "little")
    block = max(256, min(65_536, 4 * modulus))
    for start in range(0, 1 << 32, block):
        numbers = range(start, start + block)
        names = [f"{prefix}-{number:08x}" for number in numbers]
        seconds = np.frombuffer("".join(name[8:16] for name in names).encode(), "<u8")
        tails = np.frombuffer("".join(name[16:] + "\0\0\0\0" for name in names).encode(), "<u8")
        last = tails | np.uint64(0xFF << 32) | np.uint64(21 << 56)
        hashes = _siphash([np.full(block, first, np.uint64), seconds.astype(np.uint64), last])
        hits = np.flatnonzero(hashes % np.uint64(modulus) == np.uint64(remainder))
        if len(hits):
            return names[int(hits[0])]
    raise AssertionError("unreachable: one in `modulus` names fits")


def _siphash(words: list[UInt64]) -> UInt64:
    """SipHash-1-3 with zero keys of many messages at once; words[k][n]: the k-th word of message n."""
    v = [np.full(len(words[0]), start, np.uint64) for start in _INIT]
    for word in words:
        v[3] ^= word
        _round(v)
        v[0] ^= word
    v[2] ^= np.uint64(0xFF)
    for _ in range(3):
        _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _round(v: list[UInt64]) -> None:
    v[0] += v[1]
    v[1] = _rotl(v[1], 13) ^ v[0]
    v[0] = _rotl(v[0], 32)
    v[2] += v[3]
    v[3] = _rotl(v[3], 16) ^ v[2]
    v[0] += v[3]
    v[3] = _rotl(v[3], 21) ^ v[0]
    v[2] += v[1]
    v[1] = _rotl(v[1], 17) ^ v[2]
    v[2] = _rotl(v[2], 32)


def _rotl(word: UInt64, bits: int) -> UInt64:
    return word << np.uint64(bits) | word >> np.uint64(64 - bits)
