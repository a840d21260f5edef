"""Runs of the command, the JSON that it writes, and logits files for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import torch
from torch import Tensor

from tests.support import ROOT
from tests.support.llama_cpp import write_logits
from tests.support.small_models import Model

SCHEMA = json.loads((ROOT / "docs" / "schema" / "comparison-1.json").read_text(encoding="utf-8"))


Run = Callable[..., tuple[int, str, str]]


def valid_json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return document


def logits_file(path: Path, model: Model, tokens: Tensor) -> Path:
    with torch.no_grad():
        return write_logits(path, tokens, model(tokens).logits)
