"""The command line: ``torchdivergence`` or ``python -m torchdivergence``."""

import io
import os
import sys
import traceback

from torchdivergence._command.arguments import parse
from torchdivergence._command.compare import compare
from torchdivergence._command.document import versions
from torchdivergence._command.errors import CommandError
from torchdivergence._command.exit_codes import BROKEN_PIPE, CANNOT_RUN, DONE, INTERRUPTED
from torchdivergence._command.gate import gate
from torchdivergence._command.show import show

_COMMANDS = {"compare": compare, "gate": gate, "show": show}


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
    options = parse(given)
    if options.version:
        print(", ".join(f"{name} {number}" for name, number in versions().items()))
        return DONE
    try:
        return _COMMANDS[options.command](options)
    except CommandError as error:
        print(f"torchdivergence {options.command}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nInterrupted; nothing was evaluated.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes at exit
        return BROKEN_PIPE
    except Exception:
        traceback.print_exc()  # Python's own exit code would be 1, which means "above" for a gate
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main())
