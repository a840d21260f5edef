"""Compare two language models token by token, in a few lines of Python; ``torchdivergence compare`` does more.

python examples/compare_language_models.py REFERENCE CANDIDATE TEXT
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from torchdivergence import DivergenceReport

LENGTH = 128  # tokens in a sequence


@torch.inference_mode()
def main(reference: str, candidate: str, text: str) -> None:
    ids = AutoTokenizer.from_pretrained(reference)(Path(text).read_text(encoding="utf-8")).input_ids
    if len(ids) < LENGTH:
        sys.exit(f"{text} has {len(ids)} tokens, but a sequence has {LENGTH}: give a longer text.")
    p, q = (AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32) for name in (reference, candidate))
    sequences = torch.tensor(ids[: len(ids) // LENGTH * LENGTH]).view(-1, 1, LENGTH)

    report = DivergenceReport()
    for sequence in sequences:
        report.update(p(sequence).logits[:, :-1], q(sequence).logits[:, :-1], target=sequence[:, 1:])
    print(report)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
