"""Run the benchmarks and write the report.

python -m benchmarks [--quick] [SECTION ...]
"""

import argparse
import platform
from collections.abc import Callable
from pathlib import Path

import torch
import torchmetrics

from benchmarks import (
    accuracy,
    chart,
    coverage,
    cuda,
    family,
    gate,
    gradients,
    machine_load,
    memory,
    overhead,
    peeking,
    projected,
    roofline,
    scaling,
    speed,
)
from benchmarks.report import Panel, Section, paragraphs

SECTIONS: dict[str, Callable[[bool], Section]] = {
    module.__name__.rpartition(".")[2]: module.measure
    for module in (
        accuracy,
        coverage,
        peeking,
        gate,
        speed,
        family,
        scaling,
        memory,
        projected,
        overhead,
        gradients,
        cuda,
        roofline,
    )
}
OUTPUTS = Path(__file__).parents[1] / "outputs"


def machine() -> str:
    """What the figures depend on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return (
        f"{model}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}; "
        f"torch {torch.__version__}, torchmetrics {torchmetrics.__version__}, Python {platform.python_version()}."
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"some of: {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: a trial, not a measurement")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    return arguments


def main() -> None:
    arguments = parse()
    text, panels = f"# Benchmarks\n\n{machine()}\n", list[Panel]()
    print(text)
    for name in arguments.sections or SECTIONS:
        section = SECTIONS[name](arguments.quick)
        section = section._replace(body=paragraphs(section.body, machine_load.summary()))
        print(section, flush=True)
        text += f"\n{section}"
        panels += section.panels
    print("Written:", *write(text, panels))


def write(text: str, panels: list[Panel]) -> list[str]:
    """The report, and its picture where there is something to draw; the names of the files."""
    OUTPUTS.mkdir(exist_ok=True)
    report, picture = OUTPUTS / "benchmarks.md", OUTPUTS / "benchmarks.png"
    report.write_text(text)
    if panels:
        chart.save(panels, picture)
    return [str(path.relative_to(OUTPUTS.parent)) for path in ([report, picture] if panels else [report])]


if __name__ == "__main__":
    main()
