"""The rows of the largest divergence as a printed table."""

from torchdivergence._report.table import aligned, format_number
from torchdivergence._states.worst import NO_TARGET, WorstRow


class WorstRowTable(tuple[WorstRow, ...]):
    """The rows of the largest divergence, the largest first. ``print`` shows a table."""

    __slots__ = ()

    def __str__(self) -> str:
        """A table."""
        head = ("", "KL divergence, nats", "key of the sequence", "position", "target")
        lines = [
            (str(place), format_number(x.divergence), str(x.key), str(x.position), _target(x.target))
            for place, x in enumerate(self, 1)
        ]
        return "\n".join(aligned([head, *lines]))


def _target(target: int) -> str:
    return "" if target == NO_TARGET else str(target)
