"""How much faster is KL with masks than a new model for every class, and are the scores the same?

``python -m tests.benchmarks.kl_speed MODEL.onnx --data cifar10 --data-dir data`` scores every ``--every``-th group of
classes with masks, and three classes of each with the naive loop: the zeroed model, opened and run on all samples in
one batch. It compares scores and seconds per class of one processor, which other work hardly lengthens. Exit status 1:
scores are apart by more than 1e-4, or it is less than 5 times as fast.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import graph
from compress.progress import progress
from compress.prune import CRITERIA, Context
from compress.prune.calibration import images
from compress.prune.distributions import Distributions
from compress.prune.masked import opened
from graph.candidates.classes import classes
from graph.candidates.masks import alike
from runtime import Settings, open_session

TOLERANCE, SPEEDUP = 1e-4, 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--every", type=int, default=4)
    options = parser.parse_args()
    settings = Settings(threads=1)
    data = images(open_session(options.model, settings), options.data, options.data_dir, options.samples, seed=0)
    offered = classes(graph.analyse(graph.load(options.model)))
    groups = [np.flatnonzero(group) for group in alike(offered)[options.every // 2 :: options.every]]
    some = np.concatenate([group[[0, group.size // 2, -1]] for group in groups])
    measure, whole = Distributions.of(data).divergence, np.arange(len(data))
    (name,) = data.batches[0]
    feeds = {name: np.concatenate([batch[name] for batch in data.batches])}

    start = time.process_time()
    skip = np.ones(len(offered), np.bool_)
    skip[np.concatenate(groups)] = False
    scores = CRITERIA.get("kl")(offered, Context(data=data, settings=settings, progress=progress(), skip=skip))
    masked = (time.process_time() - start) / np.count_nonzero(~skip)

    start = time.process_time()
    expected = []
    for place in some:
        session = opened(offered.zeroed(np.arange(len(offered)) == place), settings)
        expected.append(measure(session.run(feeds), whole).mean())
    naive = (time.process_time() - start) / some.size

    difference = np.abs(scores[some] - expected).max()
    count = np.count_nonzero(~skip)
    print(f"{count} of {len(offered)} classes, {len(data)} samples: {masked:.3f} s per class with masks, {naive:.3f} s")
    print(f"in the naive loop: {naive / masked:.2f} times as fast, scores within {difference:.2g}")
    return int(difference > TOLERANCE or naive < SPEEDUP * masked)


if __name__ == "__main__":
    sys.exit(main())
