"""Accuracy right after removal against size, all methods: ``python -m tests.benchmarks.methods``.

Every row is kept in --folder as soon as it is measured, and not measured again; the page shows what is there.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from compress.files import write_text
from tests.benchmarks.methods.measure import DENSE, Bench, Row
from tests.benchmarks.methods.page import plot, tables
from tests.benchmarks.methods.studies import STUDIES
from tests.benchmarks.rivals.report import insert, setting

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "results" / "methods.md"


def rows(path: Path) -> list[Row]:
    """Those measured before."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [
        Row(**{**row, "parameters": tuple(row["parameters"]), "macs": tuple(row["macs"])})
        for row in map(json.loads, lines)
    ]


def wanted(name: str) -> Iterator[tuple[str, float, int]]:
    """Way, target and seed of all rows of a study."""
    yield DENSE, 0.0, 0
    yield from STUDIES[name].trials()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.methods", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with torchvision's CIFAR-10 and Fashion-MNIST")
    parser.add_argument("--shared", type=Path, required=True, help="folder with checkpoints/")
    parser.add_argument("--folder", type=Path, required=True, help="where rows are kept")
    parser.add_argument("--study", nargs="*", choices=list(STUDIES), default=list(STUDIES), help="only these")
    parser.add_argument("--limit", type=int, help="only so many rows of each study")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.data, options.shared, options.folder)
    for name in options.study:
        path = options.folder / f"{name}.jsonl"
        for way, target, seed in list(wanted(name))[: options.limit]:
            found = rows(path)
            if (way, target, seed) in {(row.way, row.target, row.seed) for row in found}:
                continue
            row = bench.train(STUDIES[name], way, target, seed)
            write_text(path, "".join(json.dumps(each.to_dict()) + "\n" for each in [*found, row]))
            print(name, row, flush=True)
    found = {name: rows(options.folder / f"{name}.jsonl") for name in STUDIES}
    plot(found, PAGE.with_suffix(".png"))
    insert(PAGE, f"{datetime.date.today()}, {setting()}\n\n{tables(found)}")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
