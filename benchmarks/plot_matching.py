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
    flat = {int(size): cost for size, cost in json.loads(options.figures.read_text())["flat"].items()}
    mpl.rcParams["svg.hashsalt"] = "dhtex"  # the same figures give the same file
    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    axes.plot(list(flat), list(flat.values()), marker="o")
    axes.set_xscale("log")
    axes.set_ylim(0, max(flat.values()) * 1.3)
    axes.set_xlabel("orders resting when the measurement starts")
    axes.set_ylabel("µs a command, all included")
    axes.set_title("Cost of a command of the mix by size of the book")
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(options.picture, metadata={"Date": None})


if __name__ == "__main__":
    main()
