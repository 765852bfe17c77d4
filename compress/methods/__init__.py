"""Compression methods: each turns training into exact zeros, and the training loop knows none by name."""

from compress.methods import (
    feature_flow,
    fggp,
    gradual,
    granet,
    group_slimming,
    joint_sparsity,
    network_slimming,
    orthoreg,
    proximal_gradient,
    proximal_slimming,
    sgd,
    variational_slimming,
)
from compress.methods.base import METHODS, Method, Plan

__all__ = [
    "METHODS",
    "Method",
    "Plan",
    "feature_flow",
    "fggp",
    "gradual",
    "granet",
    "group_slimming",
    "joint_sparsity",
    "network_slimming",
    "orthoreg",
    "proximal_gradient",
    "proximal_slimming",
    "sgd",
    "variational_slimming",
]
