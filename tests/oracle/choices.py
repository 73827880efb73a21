"""Choices that are drawn over and over: a strategy that is made anew is checked anew, which costs more than to draw."""

from functools import lru_cache

from hypothesis import strategies as st


@lru_cache(maxsize=4096)
def one_of(texts: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)
