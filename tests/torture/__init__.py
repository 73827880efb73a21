"""The fault suite: `make torture`, or `python -m tests.torture`."""
