"""Shrink an ONNX file without the command line: `python shrink_from_python.py IN.onnx OUT.onnx`."""

from __future__ import annotations

import sys
from pathlib import Path

import graph
from runtime import compare, open_session, random_feeds


def main(source: str, target: str) -> None:
    model = graph.load(source)

    analysis = graph.analyse(model)
    for name, choice in (("could go", analysis.offered()), ("may go", analysis.removable())):
        count = sum(int(plane.gone.sum()) for plane in choice.planes.values())
        print(f"{name}: {count} hyperplanes of {len(choice.planes)} axes")

    slim, certificate = graph.shrink(model)
    graph.save(slim, target)
    certificate.stamp(Path(source), Path(target))

    reference, candidate = (open_session(file.SerializeToString()) for file in (model, slim))
    parity = compare(reference, candidate, (random_feeds(reference, seed=seed) for seed in range(4)))
    certificate.check = parity.to_dict()
    print(certificate.json())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
