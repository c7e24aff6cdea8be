"""Draw the pictures of these pages: `python docs/pictures/draw.py [FOLDER]`, beside this file else.

Each SVG has a ground of its own and follows the reader's light or dark theme, and holds the numbers
that it shows, which `computed.py` makes with the functions of conversions. A test draws all of them
anew and compares those numbers and the words.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import computed
import numpy as np

from pipeline.report.html.figure import BLUE, INK, LINE, ORANGE, SOFT, one

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = dict[str, Any]
Painter = Callable[["Axes", Numbers], None]
DIGITS = 4

_STYLE = """
svg { --paper: #ffffff; --ink: #16191d; --soft: #59616b; --line: #d5d9de;
      --blue: #0072b2; --orange: #c24e00; --green: #007a59; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #14171a; --ink: #eceef0; --soft: #a3abb5; --line: #363c43;
        --blue: #56b4e9; --orange: #f0904a; --green: #2fc295; }
}
text { font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif !important; }
"""


def integers(axes: "Axes", data: Numbers) -> None:
    left, right = _panels(axes)
    for panel in (left, right):
        panel.axvspan(data["low"], data["high"], color=BLUE, alpha=0.12, linewidth=0)
        panel.set_xlabel("real value")
        panel.grid(axis="y")
    left.plot(data["real"], data["real"], color=SOFT, linewidth=1)
    left.plot(data["real"], data["kept"], color=BLUE, linewidth=1.75)
    left.set_title("what 16 integers make of it", loc="left", fontsize=12)
    right.plot(data["real"], data["error"], color=ORANGE, linewidth=1.5)
    right.set_title("the error", loc="left", fontsize=12)
    right.annotate("rounding", (1.0, 0.22), color=INK, ha="center")
    right.annotate("clipping", (-1.15, 0.7), color=INK, ha="left")
    right.annotate("clipping", (3.3, -0.95), color=INK, ha="right")


def ranges(axes: "Axes", data: Numbers) -> None:
    left, right = _panels(axes)
    left.stairs(data["counts"], data["edges"], fill=True, color=SOFT, alpha=0.75, linewidth=0)
    left.set_yscale("log", nonpositive="clip")
    left.set_ylim(0.7, 3e9)
    left.set_yticks([1, 1e3, 1e6], ["1", "1000", "1 million"])
    left.minorticks_off()
    left.set_xlabel("value")
    left.set_title("how often it occurs", loc="left", fontsize=12)
    right.plot(data["ends"], data["ratios"], color=SOFT, linewidth=1.25)
    right.set_ylim(20, 32.5)
    right.grid(axis="y")
    right.set_xlabel("upper end of the range")
    right.set_title("signal to noise, dB", loc="left", fontsize=12)
    places = {
        "percentile": (11, 25.7), "moving_average": (13, 26.8), "entropy": (15, 27.9),
        "mse": (23, 31.1), "minmax": (45, 25.4),
    }  # fmt: skip
    rows = sorted(data["chosen"], key=data["chosen"].__getitem__)
    for row, rule in enumerate(rows):
        end, ratio = data["chosen"][rule], data["chosen_ratios"][rule]
        colour = BLUE if rule == "mse" else ORANGE
        left.axvline(end, 0, 0.93 - 0.075 * row, color=colour, linewidth=1.25)
        left.annotate(rule, (end, 0.93 - 0.075 * row), xytext=(5 if rule != "minmax" else -5, 0),
                      xycoords=("data", "axes fraction"), textcoords="offset points", va="center",
                      ha="right" if rule == "minmax" else "left", color=INK, fontsize=11)  # fmt: skip
        right.plot(end, ratio, "o", color=colour, markersize=7)
        right.annotate(f"{rule} {ratio:.1f}", places[rule], color=INK, fontsize=11)


def channels(axes: "Axes", data: Numbers) -> None:
    left, right = _panels(axes)
    numbers = np.arange(len(data["low"]))
    low, high = np.array(data["low"]), np.array(data["high"])
    left.bar(numbers, high - low, 0.7, low, color=BLUE)
    left.axhspan(-data["step"], data["step"], color=ORANGE, alpha=0.35, linewidth=0)
    left.set_yscale("symlog", linthresh=0.01)
    left.set_yticks([-1, -0.1, -0.01, 0, 0.01, 0.1, 1], ["-1", "", "-0.01", "0", "0.01", "", "1"])
    left.minorticks_off()
    left.set_xlabel("channel")
    left.set_ylim(-3, 6)
    left.annotate("orange: one step up or down", (31.5, 1.6), color=ORANGE, ha="right", fontsize=11)
    left.set_title("the range of every channel's weights", loc="left", fontsize=12)
    right.plot(numbers, data["per_channel"], "D", color=BLUE, markersize=5)
    right.plot(numbers, data["per_tensor"], "o", color=ORANGE, markersize=5.5)
    right.annotate("a scale for every channel", (0.5, 55), color=INK)
    right.annotate("one scale for all", (2, 7), color=INK)
    right.set_ylim(-3, 62)
    right.grid(axis="y")
    right.set_xlabel("channel")
    right.set_title("signal to noise, dB", loc="left", fontsize=12)


def equalization(axes: "Axes", data: Numbers) -> None:
    panels = _panels(axes, share=True)
    for panel, name in zip(panels, ("before", "after"), strict=True):
        numbers = np.arange(len(data[name]["written"]))
        panel.plot(numbers, data[name]["written"], "o", color=BLUE, markersize=5)
        panel.plot(numbers, data[name]["read"], "D", color="none", markersize=7.5,
                   markeredgecolor=ORANGE, markeredgewidth=1.5)  # fmt: skip
        panel.set_yscale("log")
        panel.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
        panel.set_ylim(0.012, 150)
        panel.minorticks_off()
        panel.grid(axis="y")
        panel.set_xlabel("channel")
        panel.set_title(
            f"{name}: the result has {data[name]['ratio']:.1f} dB", loc="left", fontsize=12
        )
    panels[0].set_ylabel("largest weight")
    for panel, text, colour in ((panels[1], "●  in the layer that writes the channel", BLUE),
                                (panels[1], "◇  in the layer that reads it", ORANGE)):  # fmt: skip
        panel.annotate(text, (0.02, 0.95 if colour == BLUE else 0.87), color=colour,
                       xycoords="axes fraction", fontsize=11)  # fmt: skip


def rounding(axes: "Axes", data: Numbers) -> None:
    left, right = _panels(axes, share=True)
    for panel, names in ((left, ("nearest", "nearest, mean put back")),
                         (right, ("nearest", "adaptive, mean put back"))):  # fmt: skip
        for name, colour in zip(names, (ORANGE, BLUE), strict=True):
            panel.stairs(data["counts"][name], data["edges"], fill=True, color=colour, alpha=0.6,
                         linewidth=0)  # fmt: skip
        panel.axvline(0, 0, 0.8, color=INK, linewidth=0.75)
        panel.set_xlim(0.75 * data["edges"][0], 0.75 * data["edges"][-1])
        panel.set_yticks([])
        panel.set_xlabel("error of the filter's result")
        for row, (name, colour) in enumerate(zip(names, (ORANGE, BLUE), strict=True)):
            panel.annotate(f"{name}: {data['ratios'][name]:.1f} dB", (0.02, 0.94 - 0.09 * row),
                           xycoords="axes fraction", color=colour, fontsize=11)  # fmt: skip
    left.set_ylim(0, 1.4 * max(max(counts) for counts in data["counts"].values()))


def schemes(axes: "Axes", data: Numbers) -> None:
    names = list(data)
    axes.set_ylim(len(names) - 0.5, -0.9)
    for row, name in enumerate(names):
        axes.plot(
            [data[name]["dense"], data[name]["depthwise"]], [row, row], color=LINE, linewidth=3
        )
        axes.plot(data[name]["dense"], row, "o", color=BLUE, markersize=7)
        axes.plot(data[name]["depthwise"], row, "D", color=ORANGE, markersize=6.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(axis="x")
    axes.set_xlabel("signal to noise of the weights, dB")
    axes.annotate("●  dense layer", (62, 0), color=BLUE, va="center")
    axes.annotate("◆  depthwise layer", (62, 0.6), color=ORANGE, va="center")


PICTURES: dict[str, tuple[Callable[[], Numbers], Painter, tuple[int, int], str]] = {
    "integers": (computed.integers, integers, (760, 250),
        "Left: a staircase of 16 steps follows the diagonal within the range and stays level beyond "
        "it. Right: the error is a saw of half a step within the range and grows without end beyond."),
    "ranges": (computed.ranges, ranges, (760, 300),
        "Left: values of an activation, few of them large, and the upper ends that five rules choose. "
        "Right: signal to noise by upper end; mse is at the top of the curve."),
    "channels": (computed.channels, channels, (760, 290),
        "Left: ranges of a depthwise layer's channels, which shrink to less than one step of the "
        "common scale. Right: with one scale the signal to noise falls to 0 dB, with a scale for "
        "every channel it stays near 48."),
    "equalization": (computed.equalization, equalization, (760, 290),
        "Largest weights by channel of two layers: far apart before, the same afterwards."),
    "rounding": (computed.rounding, rounding, (760, 250),
        "Errors of a filter's result: off centre when rounded to the nearest, centred with the mean "
        "put back, narrower with adaptive rounding."),
    "schemes": (computed.schemes, schemes, (760, 270),
        "Signal to noise of a dense and of a depthwise layer's weights in each of SyNAP's types and "
        "schemes."),
}  # fmt: skip


def draw(name: str) -> str:
    """One picture as SVG, with its numbers in it."""
    numbers, paint, size, alt = PICTURES[name]
    data = plain(numbers())
    svg = str(one(name, alt, size, lambda axes: paint(axes, data)))
    start, rest = svg.split(">", 1)
    ground = '<rect width="100%" height="100%" fill="var(--paper)"/>'
    shown = json.dumps(data, separators=(",", ":"))
    return (
        f'{start} xmlns="http://www.w3.org/2000/svg"><metadata>{shown}</metadata>'
        f"<style>{_STYLE}</style>{ground}{rest}\n"
    )


def plain(value: Any) -> Any:
    """Numbers as JSON has them, of as many digits as a picture can show."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | np.ndarray):
        return [plain(item) for item in list(value)]
    if isinstance(value, int | np.integer):
        return int(value)
    return float(f"{float(value):.{DIGITS}g}")


def _panels(axes: "Axes", *, share: bool = False) -> "tuple[Axes, Axes]":
    """Two axes beside each other in place of one."""
    figure = axes.figure
    axes.remove()
    left, right = figure.subplots(1, 2, sharey=share)
    return left, right


if __name__ == "__main__":
    into = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name in PICTURES:
        (into / f"{name}.svg").write_text(draw(name), encoding="utf-8")
