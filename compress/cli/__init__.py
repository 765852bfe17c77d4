"""The command line. One file per verb: it reads options, calls what does the work, and prints."""

from compress.cli import bench, demo, export, inspect, package, prune, report, shrink, tokens, train, verify  # noqa: F401
from compress.cli.app import app, main

__all__ = ["app", "main"]
