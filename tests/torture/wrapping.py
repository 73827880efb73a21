"""How a function of the product is wrapped; one that has moved or has another name is an error at once."""

from collections.abc import Callable
from typing import Any


def wrap(owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """owner: a module or a class. around: gets the function as it is, gives the one to have instead."""
    setattr(owner, name, around(getattr(owner, name)))
