"""The plot of a metric."""

import math
from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure

from tests.support.helpers import kl_after, pair


@pytest.fixture(autouse=True)
def without_display() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("given", ["nothing", "one value", "values"])
def test_plot_draws_the_given_values_on_new_axes(given: str) -> None:
    metric = kl_after(pair())
    values = [metric.compute() + i for i in range(3)]
    figure, axes = metric.plot({"nothing": None, "one value": values[0], "values": values}[given])
    [line] = axes.get_lines()[:1]
    assert isinstance(figure, Figure)
    drawn = torch.as_tensor(line.get_ydata()).flatten().tolist()
    assert drawn == pytest.approx([v.item() for v in (values if given == "values" else values[:1])])


def test_plot_draws_on_the_given_axes() -> None:
    _, own = plt.subplots()
    _, axes = kl_after(pair()).plot(ax=own)
    assert axes is own
    assert not math.isnan(axes.get_ylim()[0])
