"""The machine code of the Triton kernels: compiled ahead of time, without a GPU, and counted by kinds of instructions.

Run as a module, it prints the counts of the inner loops as JSON. It must run in a process of its own, because in the
tests Triton is the interpreter.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

ARCHITECTURES = (80, 90, 100)
COUNTS = Path(__file__).parents[1] / "rows" / "instructions.json"
"""The counts with the pinned version of Triton."""
KINDS = {
    "fma": r"F(ADD|MUL|FMA)(\.|$)",
    "packed": "F(ADD|MUL|FMA)2",  # two float32 at once
    "special": "MUFU",
    "fp64": "D(ADD|MUL|FMA|SETP|MNMX)",
    "memory": "LDG|STG",
    "local": "LDL|STL",
    "exchange": "SHFL|REDUX|BAR|LDS|STS|SYNCS",
}
"""All others are comparisons, selections, conversions, integers and jumps."""
MEMORY = {"loads": "LDG", "stores": "STG"}


class Case(NamedTuple):
    """A kernel with the settings that it is compiled for."""

    kernel: str
    dtype: str
    terms: str
    classes: int

    def __str__(self) -> str:
        return f"{self.kernel}, {self.dtype}, {self.classes} classes, {self.terms}"


_TERMS = {"KL": ("kl",), "KL and top classes": ("kl", "top_p", "top_q"), "Rényi": ("alpha", "log_powers")}
CASES = [
    *(Case("long_rows", dtype, terms, 128_256) for dtype in ("bf16", "fp32") for terms in ("KL", "all terms")),
    *(Case("short_rows", "fp32", terms, classes) for classes in (10, 1000) for terms in ("KL", "all terms")),
    *(Case("long_rows", "bf16", terms, 128_256) for terms in ("KL and top classes", "Rényi")),
    *(Case("long_gradients", dtype, "KL", 128_256) for dtype in ("bf16", "fp32")),
    Case("long_gradients", "bf16", "Jensen-Shannon", 128_256),
    *(Case("short_gradients", "fp32", "KL", classes) for classes in (10, 1000)),
]


def instructions(case: Case, architecture: int) -> list[dict[str, Any]]:
    """The inner loops of a long row, or the whole program of short rows: counts of instructions and what they are for.

    Each has ``pairs``, the classes that a thread takes, and the names of the instructions that read memory.
    """
    listing = _disassemble(_compile(case, architecture).asm["cubin"])
    parts = _inner_loops(listing) if case.kernel.startswith("long") else [listing]
    return [{"pairs": 8, **_widths(part), **_counts(part)} for part in parts]


def _compile(case: Case, architecture: int) -> Any:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from torchdivergence._rows import triton as backend

    module = import_module(f"{backend.__name__}.gradients") if case.kernel.endswith("gradients") else backend
    kernel = getattr(module, case.kernel)
    terms = _TERMS.get(case.terms, backend.TERMS)
    constants = backend.slots({name: place for place, name in enumerate(terms)}) | _gradient_constants(case)
    unit = 8 if case.dtype == "bf16" else 4
    sizes, options = module.program(case.classes)
    constants |= {"LOG_P": True, "LOG_Q": True, "SCALED": False, "UNIT_P": unit, "UNIT_Q": unit} | sizes
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    numbers = dict.fromkeys(("p", "q", "grad_p", "grad_q"), f"*{case.dtype}")
    types = numbers | dict.fromkeys(("values", "means", "outer", "log_masses"), "*fp64")
    integers = re.compile("rows|size|stride|classes")
    signature = {
        name: types.get(name, "constexpr" if name in constants else "i64" if integers.search(name) else "fp32")
        for name in kernel.arg_names
    }
    places = {name: (place,) for place, name in enumerate(kernel.arg_names)}
    aligned = {places[name]: [["tt.divisibility", 16]] for name in types if name in places}
    source = ASTSource(kernel, signature, {places[name]: value for name, value in constants.items()}, aligned)
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


def _gradient_constants(case: Case) -> dict[str, Any]:
    """The kinds of derivatives and the largest number of the dtype."""
    from torchdivergence._divergences import JENSEN_SHANNON, KL
    from torchdivergence._rows.triton.gradients import formula

    known = formula(JENSEN_SHANNON.at(0.5) if case.terms == "Jensen-Shannon" else KL.at())
    assert known is not None
    limit = 3.3895313892515355e38 if case.dtype == "bf16" else 3.4028234663852886e38
    return {"P_KIND": known.p.value, "Q_KIND": known.q.value, "LIMIT_P": limit, "LIMIT_Q": limit}


def _widths(part: list[str]) -> dict[str, list[str]]:
    """The instructions that read memory, and those that write it, if there are any."""
    names = {kind: sorted({x for x in part if x.startswith(name)}) for kind, name in MEMORY.items()}
    return {kind: found for kind, found in names.items() if found}


def _disassemble(binary: bytes) -> list[str]:
    """Names of instructions, and of labels with a colon, in order; a jump has its target behind a space."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        text = subprocess.run([tool, "-c", file.name], capture_output=True, text=True, check=True).stdout
    listing = []
    for line in text.splitlines():
        if label := re.match(r"(\.L_\w+):", line.strip()):
            listing.append(label[1] + ":")
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_.]+)\s*(.*?);", line):
            target = re.search(r"\.L_\w+", found[2]) if found[1].startswith("BRA") else None
            listing.append(f"{found[1]} {target[0]}" if target else found[1])
    return listing


def _inner_loops(listing: list[str]) -> list[list[str]]:
    """The loops that read whole tiles: with wide loads, and without another jump inside."""
    places = {name[:-1]: place for place, name in enumerate(listing) if name.endswith(":")}
    loops = []
    for end, name in enumerate(listing):
        start = places.get(name.partition(" ")[2], end) if name.startswith("BRA") else end
        body = listing[start:end]
        if any(x.startswith("LDG.E.128") for x in body) and not any(x.startswith("BRA") for x in body):
            loops.append(body)
    return loops


def _counts(part: list[str]) -> dict[str, int]:
    names = [name for name in part if not name.endswith(":")]
    counts = Counter(next((kind for kind, x in KINDS.items() if re.match(x, name)), "other") for name in names)
    return {kind: counts[kind] for kind in (*KINDS, "other")} | {"all": len(names)}


def main() -> None:
    """Counts of the cases and architectures whose numbers are given, or of all."""
    wanted = [tuple(map(int, x.split(":"))) for x in sys.argv[1:]]
    wanted = wanted or [(case, architecture) for case in range(len(CASES)) for architecture in ARCHITECTURES]
    found: dict[str, Any] = {}
    for case, architecture in wanted:
        found.setdefault(str(CASES[case]), {})[f"sm_{architecture}"] = instructions(CASES[case], architecture)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
