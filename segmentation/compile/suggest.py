"""Did you mean: the nearest known name for a mistyped one."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, known: Iterable[str]) -> str | None:
    """The most similar of `known`, ignoring case; None where nothing is similar enough to be meant."""
    by_folded = {name.casefold(): name for name in known}
    found = get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6 if len(word) > 4 else 0.7)
    return by_folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """A remedy: the nearest name as a question, or `otherwise`."""
    name = closest(word, known)
    return f"Did you mean {name}?" if name else otherwise


def listed(names: Iterable[str]) -> str:
    """`a, b, c`, in order, cut after twenty."""
    ordered = sorted(names)
    return ", ".join(ordered[:20]) + (", ..." if len(ordered) > 20 else "")
