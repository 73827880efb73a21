"""Tests of segments: files in `tests/` beside the definitions, run through what `tidegate evaluate` runs."""
