"""Compression methods: each turns training into exact zeros, and the training loop knows none by name."""

from compress.methods import network_slimming, proximal_slimming, sgd
from compress.methods.base import METHODS, Method, Plan

__all__ = ["METHODS", "Method", "Plan", "network_slimming", "proximal_slimming", "sgd"]
