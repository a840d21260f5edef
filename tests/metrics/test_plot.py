"""The plot of a metric."""

import math
from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure

from tests.support.helpers import kl_after, pair
from torchdivergence import DivergenceCollection, Entropy, KLDivergence, TotalVariationDistance


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


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_plot_keeps_the_ticks_of_the_given_axes(scale: str) -> None:
    _, own = plt.subplots()
    own.set_xscale(scale)
    own.set_xticks([1, 2, 3])
    for values in ([0.3, 0.2, 0.1], 0.5, torch.tensor([0.5])):
        kl_after(pair()).plot(values, own)
    assert own.get_xticks().tolist() == [1, 2, 3]
    assert own.xaxis.get_visible()


@pytest.mark.parametrize(
    ("values", "text"), [([], r"sizes in the list are \[\]"), ([torch.ones(2), torch.ones(3)], r"\[2, 3\]")]
)
def test_a_list_that_has_not_one_value_for_each_step_is_refused(values: list[torch.Tensor], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        KLDivergence().plot(values)


@pytest.mark.parametrize("together", [False, True])
def test_an_empty_list_of_a_collection_is_refused(together: bool) -> None:
    with pytest.raises(ValueError, match="empty"):
        DivergenceCollection([KLDivergence()]).plot([], together=together)


def test_plot_draws_a_dot_for_each_row_without_reduction() -> None:
    metric = KLDivergence(reduction="none")
    metric.update(*pair())
    _, axes = metric.plot()
    (line,) = axes.get_lines()
    assert line.get_ydata().tolist() == metric.compute().tolist()
    assert axes.get_xlabel() == "row"


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        (KLDivergence(), "KLDivergence, nats"),
        (Entropy(base=2), "Entropy, bits"),
        (KLDivergence(base=10), "KLDivergence, logarithms to base 10"),
        (TotalVariationDistance(), "TotalVariationDistance"),
    ],
)
def test_a_plot_names_the_divergence_and_its_unit(metric: KLDivergence, label: str) -> None:
    _, axes = metric.plot(torch.tensor(1.0))
    assert axes.get_ylabel() == label


def test_steps_have_whole_numbers_and_a_hundred_of_them_few_ticks() -> None:
    figure, axes = KLDivergence().plot([torch.tensor(1.0 / i) for i in range(1, 101)])
    figure.canvas.draw()
    ticks = axes.get_xticks().tolist()
    assert len(ticks) < 15
    assert all(tick.is_integer() for tick in ticks)


@pytest.mark.parametrize("given", ["nothing", "steps"])
def test_a_collection_draws_its_metrics_together_under_their_names(given: str) -> None:
    collection = DivergenceCollection([KLDivergence(), TotalVariationDistance()], prefix="val_")
    steps = [collection(*pair()) for _ in range(3)]
    figure, axes = collection.plot(steps if given == "steps" else None, together=True)
    drawn = {line.get_label(): line.get_ydata().tolist() for line in axes.get_lines()}
    values = steps if given == "steps" else [collection.compute()]
    assert drawn == {name: [step[name].item() for step in values] for name in values[0]}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(values[0])
    assert axes.figure is figure


def test_a_collection_draws_each_metric_on_axes_of_its_own() -> None:
    collection = DivergenceCollection([KLDivergence(), TotalVariationDistance()])
    collection.update(*pair())
    drawn = [axes.get_lines()[0].get_ydata().tolist() for _, axes in collection.plot()]
    assert drawn == [[value.item()] for value in collection.compute().values()]
