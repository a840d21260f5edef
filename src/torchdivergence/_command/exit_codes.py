"""Exit codes."""

DONE = BELOW = 0
ABOVE = 1
UNDECIDED = 2
CANNOT_RUN = 3
INTERRUPTED = 130
"""As in a shell: 128 plus the number of the signal."""
BROKEN_PIPE = 141
"""The program that read the output has ended, as head does."""
