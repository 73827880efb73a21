"""The interpreter for processes of our own."""

import os
import sys


def python() -> list[str]:
    """-P: a folder of the operators' must not hide a module, unless it is there that ours are."""
    return [sys.executable, *([] if {"", os.getcwd()} & set(sys.path) else ["-P"])]
