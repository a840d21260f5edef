"""``torchdivergence compare``."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from torchdivergence._command import document, outputs, tables
from torchdivergence._command.evaluation import Evaluation, Pair, base_of_pairs, evaluate
from torchdivergence._command.exit_codes import DONE, INTERRUPTED
from torchdivergence._command.model_index import write_model_index
from torchdivergence._command.progress import note
from torchdivergence._command.setup import Setup, header, prepare
from torchdivergence._report.comparison import PairedComparison
from torchdivergence.report import DivergenceReport


def compare(options: argparse.Namespace) -> int:
    """Print and write the reports; after an interrupt or any error, those of the finished candidates."""
    outputs.check_outputs(options)
    setup = prepare(options)
    print(header(setup))
    done: list[Evaluation] = []
    try:
        for name, make in setup.candidates.items():
            report = DivergenceReport(confidence=options.confidence, keep_sequences=True, worst=options.worst)
            # no name holds the candidate here, so it is released before the next one is made
            evaluation = evaluate(Pair(name, setup.reference, make(), setup.text), report, options.batch)
            if evaluation.sequences:
                done.append(evaluation)
                _present(evaluation, setup, options)
            if not evaluation.complete:
                return INTERRUPTED
    except KeyboardInterrupt:
        note(f"\nInterrupted. Done: {', '.join(evaluation.name for evaluation in done) or 'nothing'}.")
        return INTERRUPTED
    finally:
        _finish(done, setup, options)
    return DONE


def _present(evaluation: Evaluation, setup: Setup, options: argparse.Namespace) -> None:
    """Print a report as soon as it is done, and save it."""
    partial = "" if evaluation.complete else f" (the first {evaluation.sequences} sequences)"
    print(f"{tables.underlined(evaluation.name + partial)}\n{evaluation.report}")
    if options.worst:
        print(f"\n{tables.worst_rows(evaluation, setup.text, setup.tokenizer)}")
    sys.stdout.flush()
    if options.save_report is not None:
        outputs.save_report(options.save_report, evaluation, document.metadata(setup, evaluation))


def _finish(done: list[Evaluation], setup: Setup, options: argparse.Namespace) -> None:
    """Print what several candidates have together, and write the files even if the output has been closed."""
    if not done:
        return
    pairs = _paired(done)
    try:
        _print_together({evaluation.name: evaluation.report for evaluation in done}, pairs)
    finally:
        outputs.write_each(_writers(done, pairs, setup, options))


def _print_together(reports: Mapping[str, DivergenceReport], pairs: Iterable[PairedComparison]) -> None:
    print("\nSide by side; ± is the standard error clustered by sequence\n")
    print(f"{tables.side_by_side(reports)}{tables.noise_floor(reports)}", flush=True)
    for comparison in pairs:
        print(f"{tables.underlined(' and '.join(comparison.labels))}\n{comparison}", flush=True)


def _writers(
    done: list[Evaluation], pairs: Iterable[PairedComparison], setup: Setup, options: argparse.Namespace
) -> dict[Path, Callable[[Path], None]]:
    """What writes each file that was asked for."""
    reports = {evaluation.name: evaluation.report for evaluation in done}
    written = document.document(setup, done, options.confidence)
    written["comparisons"] = [document.comparison(pair) for pair in pairs]
    writers: dict[Path | None, Callable[[Path], None]] = {
        options.json: lambda path: outputs.write_json(path, written),
        options.plot: lambda path: outputs.write_plot(path, reports),
        options.model_index: lambda path: write_model_index(path, setup, done),
    }
    return {path: write for path, write in writers.items() if path is not None}


def _paired(done: list[Evaluation]) -> list[PairedComparison]:
    """Each other complete candidate compared with one of them, if possible not with the noise floor."""
    base = base_of_pairs(done)
    others = (other for other in done if other.complete and other is not base)
    return [base.report.compare(other.report, labels=(base.name, other.name)) for other in others]
