"""The demo: every part of Tidegate on this machine with live traffic, started and stopped as one."""
