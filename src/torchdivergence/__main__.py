"""The command line: ``torchdivergence`` or ``python -m torchdivergence``."""

import io
import os
import sys
import traceback

from torchdivergence._command.errors import CommandError
from torchdivergence._command.exit_codes import BROKEN_PIPE, CANNOT_RUN, DONE, INTERRUPTED


def main(given: list[str] | None = None) -> int:
    """Run a command.

    Args:
        given: The arguments; those of the process by default.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not know ‖ or ±
    try:
        return _run(given)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes at exit
        return BROKEN_PIPE
    except Exception:
        traceback.print_exc()  # Python's own exit code would be 1, which means "above" for a gate
        return CANNOT_RUN


def _run(given: list[str] | None) -> int:
    # imported here, where main() turns a failed import into an exit code of its own: Python's is 1
    from torchdivergence._command.arguments import parse
    from torchdivergence._command.compare import compare
    from torchdivergence._command.document import versions
    from torchdivergence._command.gate import gate
    from torchdivergence._command.show import show

    options = parse(given)
    if options.version:
        print(", ".join(f"{name} {number}" for name, number in versions().items()))
        return DONE
    try:
        return {"compare": compare, "gate": gate, "show": show}[options.command](options)
    except CommandError as error:
        print(f"torchdivergence {options.command}: {error}", file=sys.stderr)
        return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main())
