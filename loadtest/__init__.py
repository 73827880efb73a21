"""Measurements, all as ratios of one run; docs/performance.md says what each of them is."""

import os

# Before anything imports gRPC: its handlers of fork() run threads in a child of ours that is about to become another
# program, and on a busy machine end it ("epoll_wait error: Bad file descriptor").
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
