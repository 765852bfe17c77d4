"""The page about a run, and about a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from shell import Cli


class Words(HTMLParser):
    """Headings and all text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"

    @property
    def pictures(self) -> int:
        return self.tags.count("svg")


@pytest.fixture
def bundle(here: Path, cli: Cli) -> Path:
    for line in (
        "shrink net.onnx -o slim.onnx",
        "verify slim.onnx --against net.onnx --data digits --json verify.json",
        "bench slim.onnx --against net.onnx --seconds 0.1 --batch 1,2 --profile --memory --json bench.json",
        "package slim.onnx -o bundle --certificate slim.json --verify verify.json --bench bench.json --data digits",
    ):
        assert cli(line).status == 0, line
    return here / "bundle"


def test_a_bundle_on_one_page(bundle: Path, here: Path, cli: Cli) -> None:
    assert cli("report bundle -o page.html").status == 0
    words = Words(here / "page.html")
    manifest = json.loads((bundle / "manifest.json").read_text())
    for heading in ("Size", "Accuracy and agreement", "Latency", "Where the time goes", "Certificate", "Files"):
        assert f"{heading}\n" in words.text
    assert words.pictures == 5  # widths, two distributions, time and rate per layer
    assert "beyond the right edge" in words.text and "process peak" in words.text
    assert f"{manifest['shrunk']['before']['parameters']:,}" in words.text
    assert manifest["files"]["model.onnx"]["sha256"] in words.text
    assert "ReorderOutput" in words.text or "Conv" in words.text
    assert not {"script", "link", "img"} & set(words.tags)


def test_a_bundle_without_evidence(here: Path, cli: Cli) -> None:
    assert cli("package net.onnx -o bundle").status == 0
    assert cli("report bundle -o page.html").status == 0
    words = Words(here / "page.html")
    assert "Files\n" in words.text and "Latency\n" not in words.text and words.pictures == 0


def test_what_was_changed_is_not_reported(bundle: Path, cli: Cli, files: Callable[[], dict[str, bytes]]) -> None:
    (bundle / "bench.json").write_text("{}")
    before = files()
    result = cli("report bundle -o page.html")
    assert result.status == 2 and "not the file that was packaged" in result.err and files() == before
    assert cli("report bundle -o page.html --bench bench.json").status == 2


@pytest.mark.parametrize(
    ("mode", "section", "says"),
    [
        ("throughput --streams 2", "Throughput", "2 streams"),
        ("cold-start", "Cold start", "create and first run"),
    ],
)
def test_what_is_no_latency_is_packaged_and_shown(mode: str, section: str, says: str, here: Path, cli: Cli) -> None:
    for line in (
        f"bench net.onnx --against other.onnx --seconds 0.1 --mode {mode} --json bench-of-mode.json",
        "package net.onnx -o bundle --bench bench-of-mode.json",
        "report bundle -o page.html",
    ):
        assert cli(line).status == 0, line
    words = Words(here / "page.html")
    assert f"{section}\n" in words.text and says in words.text and "Latency\n" not in words.text


def test_what_is_neither_run_nor_bundle(here: Path, cli: Cli) -> None:
    for path in ("folder", "net.onnx", "nowhere"):
        result = cli(f"report {path} -o page.html")
        assert result.status == 2 and f"{path} is neither a folder of compress train nor a bundle" in result.err
    assert not (here / "page.html").exists()


@pytest.mark.slow
def test_a_run_on_one_page(here: Path, cli: Cli) -> None:
    assert cli("train --model cli_nets:Net --epochs 2 --train-limit 200 --device cpu --out run -q").status == 0
    assert cli("report run -o page.html").status == 0
    words = Words(here / "page.html")
    assert "test accuracy\n" in words.text and "channels per layer" in words.text
    assert "4 more are zero" in words.text and "Size\n" not in words.text and words.pictures >= 5
    for line in ("shrink net.onnx -o slim.onnx", "bench net.onnx --seconds 0.1 --json bench.json"):
        assert cli(line).status == 0
    assert cli("report run -o page.html --certificate slim.json --bench bench.json").status == 0
    assert "Size\n" in Words(here / "page.html").text
    result = cli("report run -o page.html --certificate bench.json")
    assert result.status == 2 and "is no certificate of compress shrink" in result.err
    result = cli("report run -o page.html --bench slim.json")
    assert result.status == 2 and "is no result of compress bench --json" in result.err
