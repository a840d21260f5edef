"""Exit codes."""

DONE = BELOW = 0
ABOVE = 1
UNDECIDED = 2
CANNOT_RUN = 3
INTERRUPTED = 130
"""As of a shell: 128 and the number of the signal."""
