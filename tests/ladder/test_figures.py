"""Pictures of a search: every kind of result draws, nothing is clipped, and what matters can be read."""

import dataclasses

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from stepladder.ladder import figures
from stepladder.ladder.figure_parts import VERDICT_COLOURS, setting_labels
from stepladder.notebooks.lab import STYLE
from stepladder.training.setting import Setting
from stepladder.view.style import CHOSEN, MODEL
from tests.ladder import search_results

DRAWN = {
    "staircase": figures.staircase,
    "time": figures.where_time_goes,
    "scatter": figures.forecast_scatter,
    "map": figures.throughput_map,
    "memory": lambda result: figures.memory_line(result, 9.6e9),
}


@pytest.fixture(autouse=True)
def house_style():
    with plt.style.context(STYLE):
        yield
    plt.close("all")


def texts(figure):
    return " | ".join(text.get_text().replace("\n", " ") for text in figure.findobj(Text))


CROWDED = [(kind, picture) for kind in ("data_bound", "on_a_gpu") for picture in DRAWN]
ODD = [("compute_bound", "scatter"), ("troubled", "staircase"), ("troubled", "memory"), ("hopeless", "time")]


@pytest.mark.parametrize(("kind", "picture"), [*CROWDED, *ODD, *(("empty", picture) for picture in DRAWN)])
def test_every_climb_draws_at_page_width_with_no_word_cut_off(kind, picture):
    figure = DRAWN[picture](search_results.ALL[kind]())
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    drawn = figure.get_tightbbox()  # inches, of everything that is drawn
    assert width == pytest.approx(7.2)
    assert drawn.x0 >= -0.02 and drawn.y0 >= -0.02 and drawn.x1 <= width + 0.02 and drawn.y1 <= height + 0.02


def test_the_staircase_shows_rate_interval_verdict_and_what_ended_a_rung():
    result = search_results.troubled()
    figure = figures.staircase(result)
    bars = [container for container in figure.axes[0].containers if hasattr(container, "patches")]
    colours = [to_hex(bar.patches[0].get_facecolor()) for bar in bars]
    assert colours[:4] == [VERDICT_COLOURS["better"], CHOSEN, VERDICT_COLOURS["tie"], VERDICT_COLOURS["refused"]]
    heights = [bar.patches[0].get_height() for bar in bars]
    assert heights[:4] == [candidate.rate for candidate in result.rungs[:4]] and heights[4:] == [0, 0, 0]
    assert all(ending in texts(figure) for ending in ("oom", "timeout", "skipped"))


def test_a_staircase_draws_the_forecast_beside_every_rung_that_has_one():
    result = search_results.data_bound()
    levels = [line.get_ydata()[0] for line in figures.staircase(result).axes[0].lines if len(line.get_xdata()) == 2]
    forecasts = [candidate.forecast.rate for candidate in (*result.rungs, result.soak)]
    assert [level for level in levels if level in forecasts] == forecasts


def test_bars_add_up_to_the_time_of_a_sample_and_the_hot_function_is_named():
    result = search_results.data_bound()
    figure = figures.where_time_goes(result)
    above, below = figure.axes
    widths = [sum(bar.patches[place].get_width() for bar in above.containers) for place in range(4)]
    assert widths == pytest.approx([1e3 / candidate.rate for candidate in (*result.rungs, result.soak)])
    loader = sum(bar.patches[0].get_width() for bar in below.containers)
    assert loader == pytest.approx(1e3 * sum(search_results.SCROLL_STAGES.values()))
    assert "78% of it scipy.ndimage.median_filter" in below.get_title(loc="left")


def test_the_scatter_holds_forecast_against_measurement():
    result = search_results.compute_bound()
    axis = figures.forecast_scatter(result).axes[0]
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axis.lines if len(line.get_xdata()) == 1]
    for candidate in result.rungs:
        assert (candidate.forecast.rate, candidate.rate) in points
    assert axis.get_xlim() == axis.get_ylim()


def test_the_map_marks_what_was_tried_and_says_why_a_cell_does_not_fit():
    result = search_results.data_bound()
    axis = figures.throughput_map(result).axes[0]
    patches = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    hatched = [patch for patch in patches if patch.get_hatch()]
    framed = {(round(p.get_x() + 0.46), round(p.get_y() + 0.46)) for p in patches if not p.get_fill()}
    assert len(hatched) == sum(not cell.fits for cell in result.cells)
    workers, batches = [0, 1, 2, 4, 8], [1, 2, 4, 8]
    assert framed == {(batches.index(r.setting.batch), workers.index(r.setting.workers)) for r in result.rungs}
    assert "needs 14.50 GB of host memory, 9.60 GB may be used" in texts(axis.figure)


def test_the_map_and_the_memory_line_stay_in_the_plane_of_the_chosen_setting():
    result = search_results.compute_bound()
    figure = figures.throughput_map(result)
    assert "bfloat16" in figure.axes[0].get_title(loc="left") and len(figure.axes[0].texts) == 16
    dots = [line for line in figures.memory_line(result).axes[0].lines if line.get_markersize() == 8]
    assert len(dots) == 3  # the float32 rung lies in another plane


def test_the_memory_line_is_of_the_device_where_there_is_one():
    result = search_results.on_a_gpu()
    axis = figures.memory_line(dataclasses.replace(result, device_limit=68e9), 9.6e9).axes[0]
    levels = [line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == "--"]
    assert axis.get_ylabel() == "device memory, GB" and levels == [68]
    host = figures.memory_line(dataclasses.replace(search_results.data_bound(), device_limit=68e9), 9.6e9).axes[0]
    levels = [line.get_ydata()[0] for line in host.lines if line.get_linestyle() == "--"]
    assert host.get_ylabel() == "host memory, GB" and levels == [9.6]


def test_a_climb_without_forecasts_says_so_instead_of_an_empty_picture():
    assert "No rung was both forecast and measured" in texts(figures.forecast_scatter(search_results.troubled()))
    assert "KeyError 'fold'" in texts(figures.staircase(search_results.empty()))


def test_the_table_has_a_row_per_rung_with_forecast_beside_measurement():
    result = search_results.data_bound()
    rows = figures.table(result)
    assert list(rows["verdict"]) == ["better", "chosen", "not better", "chosen, soak"]
    assert rows["forecast"][1] == result.rungs[1].forecast.rate and rows["off"][1] == "+9%"
    assert rows["samples/s"][1] == "20.6 ± 0.62" and rows["waiting"][1] == "18%"
    refused = figures.table(search_results.troubled())
    assert list(refused["verdict"])[3:] == ["refused"] * 4 and "full at pass 605" in refused["reason"][3]


def test_a_soak_that_refuses_takes_the_choice_away():
    result = search_results.data_bound()
    soak = dataclasses.replace(result.soak, verdict="refused", reason="soak: host memory grows")
    rolled = dataclasses.replace(result, soak=soak, chosen=result.rungs[0].setting)
    assert list(figures.table(rolled)["verdict"]) == ["chosen", "better", "not better", "refused, soak"]


def test_labels_tell_settings_apart_and_leave_out_what_they_share():
    shared, each = setting_labels(
        [Setting(1, 2, 4, precision="bfloat16"), Setting(2, 2, 4, precision="bfloat16")], ", "
    )
    assert shared == " (threads 4, bfloat16)" and each == ["1 w, batch 2", "2 w, batch 2"]
    held = [Setting(1, 2, accumulate=4), Setting(1, 8, accumulate=1)]
    assert setting_labels(held, ", ") == ("", ["1 w, batch 2", "1 w, batch 8"])
    _, released = setting_labels([Setting(1, 2, accumulate=4), Setting(1, 2, compile=True)], ", ")
    assert released == ["1 w, batch 2, accumulate 4", "1 w, batch 2, accumulate 1, compile"]


def only(result, **more):
    """The search with the chosen setting alone, in forecasts and rungs."""
    kept = {name: tuple(x for x in getattr(result, name) if x.setting == result.chosen) for name in ("cells", "rungs")}
    return dataclasses.replace(result, soak=None, **kept, **more)


def test_a_single_point_is_a_sentence_with_its_numbers():
    result = only(search_results.data_bound())
    (rung,), (cell,) = result.rungs, result.cells
    scatter, plane, memory = (DRAWN[name](result) for name in ("scatter", "map", "memory"))
    assert not any(figure.axes[0].axison for figure in (scatter, plane, memory))
    assert f"{cell.rate:.3g} forecast" in texts(scatter) and f"{rung.rate:.3g} ±" in texts(scatter)
    assert f"forecast at {cell.rate:.3g} samples per second" in texts(plane)
    assert "7.9 GB measured" in texts(memory) and "9.6 GB may be used" in texts(memory)


def test_a_map_of_a_few_cells_is_bars():
    result = search_results.data_bound()
    cells = tuple(cell for cell in result.cells if cell.setting.workers == 8)
    figure = figures.throughput_map(dataclasses.replace(result, cells=cells))
    bars = [bar for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    assert [bar.get_width() for bar in bars] == [cell.rate * cell.fits for cell in cells]
    assert not figure.axes[0].images and "needs 14" in texts(figure)
    assert to_hex(bars[1].get_facecolor()) == CHOSEN


def test_a_limit_far_above_what_is_used_does_not_press_it_to_the_ground():
    result = search_results.data_bound()
    far = figures.memory_line(result, 400e9).axes[0]
    assert not [line for line in far.lines if line.get_linestyle() == "--"] and far.get_ylim()[1] < 40
    assert "400.0 GB may be used" in far.get_title(loc="left")


def test_small_memory_is_read_in_small_units():
    result = search_results.data_bound()
    small = [
        dataclasses.replace(r, trial=dataclasses.replace(r.trial, peak_bytes=2_500_000, probe=None))
        for r in result.rungs
    ]
    rows = figures.table(dataclasses.replace(result, rungs=tuple(small), soak=None))
    assert set(rows["memory (MB)"]) == {2.5}


def test_what_is_paid_once_is_told_and_in_no_bar():
    result = search_results.data_bound()
    probe = dataclasses.replace(result.loader.probe, first_seconds=0.62)
    loader = dataclasses.replace(result.loader, probe=probe)
    figure = figures.where_time_goes(dataclasses.replace(result, loader=loader))
    assert "0.6 s more, once" in texts(figure) and "more, once" not in texts(figures.where_time_goes(result))
    bar = sum(part.patches[0].get_width() for part in figure.axes[-1].containers)
    assert bar == pytest.approx(1e3 * sum(search_results.SCROLL_STAGES.values()))


@pytest.mark.parametrize("picture", DRAWN)
def test_amber_is_the_models_alone(picture):
    figure = DRAWN[picture](search_results.data_bound())
    colours = {to_hex(patch.get_facecolor()) for patch in figure.findobj(Rectangle)}
    colours |= {to_hex(patch.get_edgecolor()) for patch in figure.findobj(Rectangle)}
    assert MODEL not in colours | {to_hex(line.get_color()) for line in figure.findobj(Line2D)}
