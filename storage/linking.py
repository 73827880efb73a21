"""A saved state with files of its own: whoever goes on from it needs nothing that the shard's engine may delete.

Chunks are never written again, so a second name for the same file is enough: a hard link, which costs no space until
the engine lets go of its own.
"""

from typing import Any

from segmentation.state.archive import ChunkRef
from segmentation.state.dump import unpack
from storage.checkpoints import CheckpointStore
from storage.commits import CheckpointRecord
from storage.reservoir import Reservoir


def linked_state(checkpoints: CheckpointStore, record: CheckpointRecord, theirs: Reservoir, ours: Reservoir) -> Any:
    """The state, unpacked, as `segmentation.evaluate.shard.Shard.load` takes it, its chunks under names of `ours`.

    StorageError where a file is missing: the engine may have saved a later state meanwhile and deleted it."""
    state = unpack(checkpoints.load(record))
    chunks = state["log"]["chunks"]
    if chunks is not None:
        refs = [ChunkRef(**ref) for ref in chunks["refs"]]
        mine = ours.take_over_all(theirs, refs)
        names = {ref.file: new.file for ref, new in zip(refs, mine)}
        state["log"]["chunks"] = chunks | {
            "refs": [ref | {"file": names[ref["file"]]} for ref in chunks["refs"]],
            "dirty": sorted(names[file] for file in chunks["dirty"] if file in names),
        }
    return state
