"""Which shard a user belongs to: the same answer in every process, forever."""

from xxhash import xxh3_64_intdigest


def shard_of(user_id: str, shards: int) -> int:
    """0 <= shard < shards; XXH3 (64 bit) of the UTF-8 id. Independent of the Kafka partitioner."""
    return xxh3_64_intdigest(user_id.encode()) % shards
