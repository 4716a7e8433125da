"""Limits, bad input and life cycles, over real sockets."""
