"""The main values as ``model-index``, the results on the card of a model on the Hugging Face hub."""

from collections.abc import Iterable
from pathlib import Path

from torchdivergence._command import document
from torchdivergence._command.errors import require
from torchdivergence._command.evaluation import Evaluation
from torchdivergence._command.progress import note
from torchdivergence._command.setup import Setup, short_name

_MAIN = {
    "kl_mean": "Mean KL divergence from the reference, nats",
    "kl_p99": "99 % quantile of the KL divergence, nats",
    "top_1_agreement": "Share of tokens with the same top token",
    "log_perplexity_ratio": "ln(perplexity / perplexity of the reference)",
    "perplexity_q": "Perplexity",
    "delta_p_rms": "Root mean square of the change in the target's probability",
}


def write_model_index(path: Path, setup: Setup, evaluations: Iterable[Evaluation]) -> None:
    """Write the front matter of a model card, with one entry for each candidate."""
    hub = require("huggingface_hub")
    entries = [entry for evaluation in evaluations for entry in _entry(hub, setup, evaluation)]
    path.write_text(
        f"---\n{hub.repocard_data.yaml_dump({'model-index': entries}, sort_keys=False)}---\n", encoding="utf-8"
    )
    note(f"Model index: {path}")


def _entry(hub: object, setup: Setup, evaluation: Evaluation) -> list[dict[str, object]]:
    values = evaluation.report.to_dict()
    tokens = document.tokens(setup)
    about = {
        "reference": short_name(setup.name),
        "tokens_sha256": tokens["sha256"],
        "sequences": evaluation.sequences,
    }
    results = [
        hub.EvalResult(  # type: ignore[attr-defined]
            task_type="text-generation",
            dataset_type="text",
            dataset_name=tokens["text"],
            dataset_args=about,
            metric_type=name,
            metric_name=label,
            metric_value=values[name],
        )
        for name, label in _MAIN.items()
        if name in values
    ]
    index: list[dict[str, object]] = hub.repocard_data.eval_results_to_model_index(evaluation.name, results)  # type: ignore[attr-defined]
    return index
