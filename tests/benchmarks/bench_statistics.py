"""How often is `compress bench` wrong, and what does it cost to measure that way?

``python -m tests.benchmarks.bench_statistics`` measures a network against its copy (A/A) and against one that does 3 %
more work (A/B), with the other cores kept busy, and beside every such run the same two models one after the other, as
other tools do. Then it holds the harness against a bare loop of ``run_with_iobinding``. What is done is kept in a log,
so that a run that was interrupted goes on where it stopped. Exit status 1: an aim was missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from runtime import Interval, Plan, Settings, bench, environment, measure, open_session, random_feeds
from runtime.stats import RESAMPLES, median_ratio, verdict
from tests.benchmarks.rivals.report import BEGIN, END, table

PAGE = Path("docs/results/bench-statistics.md")
ONE = Settings(threads=1)
LAYERS, MORE = 33, 34  # convolutions: 3 % more of the same, within a slice of the scheduler
CHANNELS, SIDE = 32, 14
OVERHEAD_ROUNDS, OVERHEAD_RUNS = 30, 200

INTRODUCTION = f"""# How far `compress bench` can be trusted

```
OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_statistics
```

A network of {LAYERS} equal convolutions is measured against a copy of its file (A/A), and against a network of {MORE}
of them (A/B, `bench` should call it slower), on one thread, while the other cores are busy: with matrix products, or
with `--load 0` with whatever runs there, which stands below. Beside each such run, the two models are timed one after
the other with one session each, as long as `bench` took, and the ratio of their medians gets a bootstrap interval over
runs; it claims a difference by the same rule (the interval excludes 1, and the ratio is 1 % away from it).

Aims: at most 5 % of the A/A runs claim a difference; at least 90 % of the A/B runs call the other model slower; and the
harness measures what a bare loop of `run_with_iobinding` measures, within 1 %.

## Measured
"""


def network(layers: int) -> ModelProto:
    """A chain of equal convolutions."""
    model = ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 17)])
    model.graph.name = f"chain-{layers}"
    shape = [1, CHANNELS, SIDE, SIDE]
    weight = np.random.default_rng(0).standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight / np.float32(9 * CHANNELS) ** 0.5, "w"))
    for number in range(layers):
        node = helper.make_node("Conv", [str(number), "w"], [str(number + 1)], pads=[1, 1, 1, 1])
        model.graph.node.append(node)
    for values, name in ((model.graph.input, "0"), (model.graph.output, str(layers))):
        values.append(helper.make_tensor_value_info(name, 1, shape))
    model.graph.node[-1].output[0] = model.graph.output[0].name = "y"
    return model


@contextlib.contextmanager
def busy(cores: int) -> Iterator[None]:
    """Processes that multiply matrices meanwhile."""
    workers = [multiprocessing.get_context("spawn").Process(target=_burn, daemon=True) for _ in range(cores)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.terminate()


def _burn() -> None:
    matrix = np.random.default_rng(0).standard_normal((512, 512))
    while True:
        matrix @ matrix


def interleaved(candidate: bytes, reference: bytes, seed: int, seconds: float) -> tuple[Interval, str]:
    """What `compress bench` says."""
    plan = Plan(min_time=seconds, max_time=10 * seconds, seed=seed)
    comparison = bench(candidate, reference, settings=ONE, plan=plan).comparison
    assert comparison is not None
    return comparison.ratio, comparison.verdict


def sequential(candidate: bytes, reference: bytes, seed: int, seconds: float) -> tuple[Interval, str]:
    """One model after the other, and a bootstrap over runs."""
    times = []
    for model in (candidate, reference):
        session = open_session(model, ONE)
        run, samples = session.bound(random_feeds(session)), []
        for _ in range(10):
            run()
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds / 2:
            start = time.perf_counter()
            run()
            samples.append(time.perf_counter() - start)
        times.append(np.array(samples))
    rng = np.random.default_rng(seed)
    draws = [np.median(each[rng.integers(len(each), size=(RESAMPLES, len(each)))], axis=1) for each in times]
    low, high = np.quantile(draws[1] / draws[0], (0.025, 0.975))
    ratio = Interval(float(np.median(times[1]) / np.median(times[0])), float(low), float(high))
    return ratio, verdict(ratio)


def overhead(model: bytes) -> Interval:
    """Time by the harness over time by a bare loop, which take turns on one session per round."""
    harness, bare, rounds = [], [], []
    plan = Plan(rounds=1, min_time=0, min_pairs=OVERHEAD_RUNS, warmup_time=0)
    for number in range(OVERHEAD_ROUNDS):
        session = open_session(model, ONE)
        feeds = random_feeds(session)
        run, loop = session.bound(feeds), _bare(session, feeds)
        for turn in range(2):
            if turn == number % 2:
                harness.append(measure(lambda run=run: run, plan=plan).candidate[:OVERHEAD_RUNS])  # type: ignore[misc]
            else:
                bare.append(loop())
        rounds.append(np.full(OVERHEAD_RUNS, number))
    middle = [[np.full(OVERHEAD_RUNS, np.median(each)) for each in side] for side in (harness, bare)]
    return median_ratio(*(np.concatenate(side) for side in middle), np.concatenate(rounds))


def _bare(session: Any, feeds: Any) -> Callable[[], np.ndarray]:
    """What everybody writes by hand."""
    binding = session.ort.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    for output in session.outputs:
        binding.bind_output(output.name)

    def loop() -> np.ndarray:
        times = np.empty(OVERHEAD_RUNS)
        for _ in range(10):
            session.ort.run_with_iobinding(binding)
        for place in range(OVERHEAD_RUNS):
            start = time.perf_counter()
            session.ort.run_with_iobinding(binding)
            times[place] = time.perf_counter() - start
        return times

    return loop


def campaign(log: Path, aims: dict[str, int], seconds: float) -> list[dict[str, Any]]:
    """The runs that ``log`` lacks, and then all of them."""
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    known = {(entry["kind"], entry["seed"]) for entry in done}
    models = {"A/A": (network(LAYERS),) * 2, "A/B": (network(MORE), network(LAYERS))}
    log.parent.mkdir(parents=True, exist_ok=True)
    for kind, count in aims.items():
        candidate, reference = (model.SerializeToString() for model in models[kind])
        for seed in range(count):
            if (kind, seed) in known:
                continue
            begin = time.perf_counter()
            ours = interleaved(candidate, reference, seed, seconds)
            took = time.perf_counter() - begin
            other = sequential(candidate, reference, seed, took)
            entry = {"kind": kind, "seed": seed, "seconds": took}
            for name, (ratio, said) in (("bench", ours), ("sequential", other)):
                entry[name] = {"ratio": [ratio.estimate, ratio.low, ratio.high], "verdict": said}
            done.append(entry)
            with log.open("a") as file:
                file.write(json.dumps(entry) + "\n")
    return done


def rows(done: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Per kind and way of measuring, what was claimed."""
    found = []
    for kind in ("A/A", "A/B"):
        entries = [entry for entry in done if entry["kind"] == kind]
        for way in ("bench", "sequential"):
            if entries:
                verdicts = [entry[way]["verdict"] for entry in entries]
                estimates = np.array([entry[way]["ratio"][0] for entry in entries])
                claims = [f"{verdicts.count(said)}" for said in ("same", "slower", "faster")]
                span = f"{np.median(estimates):.4f} ({estimates.min():.3f} to {estimates.max():.3f})"
                found.append([f"{kind}, {way}", str(len(entries)), *claims, span])
    return found


def missed(done: Sequence[dict[str, Any]], cost: Interval) -> list[str]:
    """The aims that were not reached."""
    said = {kind: [entry["bench"]["verdict"] for entry in done if entry["kind"] == kind] for kind in ("A/A", "A/B")}
    found = []
    if sum(each != "same" for each in said["A/A"]) > 0.05 * len(said["A/A"]):
        found.append("more than 5 % of the A/A runs claim a difference")
    if said["A/B"].count("slower") < 0.9 * len(said["A/B"]):
        found.append("less than 90 % of the A/B runs see it")
    if abs(cost.estimate - 1) > 0.01:
        found.append("the harness costs more than 1 %")
    return found


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_statistics", description=__doc__)
    parser.add_argument("--aa", type=int, default=200, help="A/A runs")
    parser.add_argument("--ab", type=int, default=100, help="A/B runs")
    parser.add_argument("--seconds", type=float, default=3.0, help="least time of a run, as of compress bench")
    others = max(1, (os.cpu_count() or 2) - 1)
    parser.add_argument("--load", type=int, default=others, help="processes that multiply matrices meanwhile")
    parser.add_argument("--note", default="", help="what else kept the other cores busy, for the page")
    parser.add_argument("--log", type=Path, default=Path("runs/bench-statistics.jsonl"))
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    with busy(options.load):
        done = campaign(options.log, {"A/A": options.aa, "A/B": options.ab}, options.seconds)
    cost = overhead(network(LAYERS).SerializeToString())
    here = environment()
    figures = table(["", "runs", "same", "slower", "faster", "speedup: median (range)"], rows(done))
    told = f"Time by the harness / bare loop: {cost.estimate:.4f} (95 % interval {cost.low:.4f} to {cost.high:.4f})"
    meanwhile = f"Meanwhile on the other cores: {options.note or f'{options.load} process(es) with matrix products'}."
    machine = f"{here['cpu']}, {here['cores']} cores, onnxruntime {here['onnxruntime']}"
    parts = [INTRODUCTION, BEGIN, figures, "", f"{told}, {OVERHEAD_ROUNDS} sessions.", "", meanwhile, "", machine, END]
    options.page.write_text("\n".join(parts) + "\n")
    print(figures, told, sep="\n\n")
    if wrong := missed(done, cost):
        sys.exit("; ".join(wrong))


if __name__ == "__main__":
    main()
