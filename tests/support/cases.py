"""Tables of cases within a test."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

Test = Callable[..., None]


def each(names: str, cases: Iterable[Any]) -> Callable[[Test], Test]:
    """``pytest.mark.parametrize`` in one test, for cases that take less time than pytest needs for a test.

    A failure notes its case.
    """
    keys, table = [name.strip() for name in names.split(",")], list(cases)

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(**others: Any) -> None:
            for case in table:
                own = dict(zip(keys, case if len(keys) > 1 else [case], strict=True))
                try:
                    test(**others, **own)
                except BaseException as error:
                    error.add_note(f"in the case {own}")
                    raise

        signature = inspect.signature(test)
        left = [parameter for name, parameter in signature.parameters.items() if name not in keys]
        run.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return run

    return decorate
