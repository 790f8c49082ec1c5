"""Draws the figures of `matching.py --json` for the docs.

python benchmarks/plot_matching.py figures.json docs/explanation/matching-cost.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    flat = json.loads(options.figures.read_text())["flat"]
    mpl.rcParams["svg.hashsalt"] = "dhtex"  # the same figures give the same file
    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    for name, costs in flat.items():
        axes.plot([int(size) for size in costs], list(costs.values()), marker="o", label=name)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.set_xlabel("orders resting when the measurement starts")
    axes.set_ylabel("µs a command")
    axes.set_title("Cost of a command of the mix by size of the book")
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(options.picture, metadata={"Date": None})


if __name__ == "__main__":
    main()
