"""The declaration of each divergence. It knows neither devices nor backends nor states.

A new divergence is a declaration in a module of this package, imported here.
"""

# In the order of the lists in the documents.
# isort: off
from torchdivergence._divergences.kullback_leibler import JEFFREYS, KL, REVERSE_KL
from torchdivergence._divergences.jensen_shannon import JENSEN_SHANNON
from torchdivergence._divergences.distances import EXPECTED_ACCEPTANCE, HELLINGER, SQUARED_HELLINGER, TOTAL_VARIATION
from torchdivergence._divergences.powers import ALPHA, CHI_SQUARED, RENYI
from torchdivergence._divergences.entropies import CROSS_ENTROPY, ENTROPY
from torchdivergence._divergences.sides import LOG_MASSES, TOP_CLASSES
from torchdivergence._divergences.spec import SPECS, Divergence, DivergenceSpec, Term, by_key
# isort: on

__all__ = [
    "ALPHA",
    "CHI_SQUARED",
    "CROSS_ENTROPY",
    "ENTROPY",
    "EXPECTED_ACCEPTANCE",
    "HELLINGER",
    "JEFFREYS",
    "JENSEN_SHANNON",
    "KL",
    "LOG_MASSES",
    "RENYI",
    "REVERSE_KL",
    "SPECS",
    "SQUARED_HELLINGER",
    "TOP_CLASSES",
    "TOTAL_VARIATION",
    "Divergence",
    "DivergenceSpec",
    "Term",
    "by_key",
]
