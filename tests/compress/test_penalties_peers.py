"""Against scikit-learn-contrib's skglm and PyLops' pyproximal, where they have a penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from compress.penalties import L1, MCP, SCAD, ElasticNet, LogSum, Lp, Penalty

V = np.linspace(-3, 3, 241) + 1e-3  # off the kinks, where two minimisers are equally good

Peer = Callable[[Any], Any]


def in_pyproximal(make: Peer) -> Callable[[float], np.ndarray]:
    return lambda step: make(pytest.importorskip("pyproximal")).prox(V.copy(), step)


def in_skglm(make: Peer) -> Callable[[float], np.ndarray]:
    def prox(step: float) -> np.ndarray:
        penalty = make(pytest.importorskip("skglm.penalties"))
        return np.array([penalty.prox_1d(v, step, 0) for v in V])

    return prox


@pytest.mark.parametrize(
    ("penalty", "peer"),
    [
        (L1(0.7), in_pyproximal(lambda p: p.L1(sigma=0.7))),
        (L1(0.7), in_skglm(lambda p: p.L1(0.7))),
        (ElasticNet(0.4, ridge=1.5), in_skglm(lambda p: p.L1_plus_L2(1.0, 0.4))),
        (MCP(0.5, edge=1.5), in_skglm(lambda p: p.MCPenalty(0.5, 3.0))),
        (SCAD(0.4, edge=0.4 * 3.7), in_skglm(lambda p: p.SCAD(0.4, 3.7))),
        (SCAD(0.4, edge=0.4 * 3.7), in_pyproximal(lambda p: p.SCAD(sigma=0.4, a=3.7))),
        (Lp(0.6, 1 / 2), in_skglm(lambda p: p.L0_5(0.6))),
        (Lp(0.6, 2 / 3), in_skglm(lambda p: p.L2_3(0.6))),
        (LogSum(0.2, eps=0.5), in_skglm(lambda p: p.LogSumPenalty(0.2, 0.5))),
        (LogSum(0.2, eps=0.1), in_skglm(lambda p: p.LogSumPenalty(0.2, 0.1))),
        (LogSum(0.3 / np.log(3), eps=0.5), in_pyproximal(lambda p: p.Log(sigma=0.3, gamma=2.0))),
    ],
    ids=lambda value: repr(value) if not callable(value) else "",
)
@pytest.mark.parametrize("step", [0.05, 0.8])
def test_prox_is_theirs(penalty: Penalty, peer: Callable[[float], np.ndarray], step: float) -> None:
    ours = penalty.prox(torch.from_numpy(V), step).numpy()
    assert np.abs(ours - peer(step)).max() < 1e-7


def regression() -> tuple[np.ndarray, np.ndarray]:
    """80 noisy observations of a signal with 4 of 30 coefficients."""
    random = np.random.default_rng(0)
    design = random.standard_normal((80, 30))
    truth = np.zeros(30)
    truth[[3, 8, 15, 27]] = [2.0, -1.5, 1.0, -0.8]
    return design, design @ truth + 0.1 * random.standard_normal(80)


def proximal_gradient(design: np.ndarray, target: np.ndarray, penalty: Penalty) -> np.ndarray:
    """Minimise ``|target - design w|^2 / (2 n) + p(w)`` by prox and gradient alone."""
    a, y = torch.from_numpy(design), torch.from_numpy(target)
    step = len(y) / torch.linalg.matrix_norm(a, 2).item() ** 2
    penalty.check(step)
    w = torch.zeros(a.shape[1], dtype=torch.float64)
    for _ in range(2000):
        w = penalty.prox(w - step * a.T @ (a @ w - y) / len(y), step)
    return w.numpy()


@pytest.mark.parametrize(
    ("penalty", "peer"),
    [
        (MCP(0.2, edge=0.6), lambda p: p.MCPenalty(0.2, 3.0)),
        (SCAD(0.2, edge=0.2 * 3.7), lambda p: p.SCAD(0.2, 3.7)),
        (L1(0.2), lambda p: p.L1(0.2)),
    ],
    ids=["mcp", "scad", "l1"],
)
def test_sparse_regression_ends_where_skglm_does(penalty: Penalty, peer: Peer) -> None:
    skglm = pytest.importorskip("skglm")
    design, target = regression()
    theirs = skglm.GeneralizedLinearEstimator(
        skglm.datafits.Quadratic(), peer(skglm.penalties), skglm.solvers.AndersonCD(tol=1e-12, fit_intercept=False)
    ).fit(design, target)
    ours = proximal_gradient(design, target, penalty)
    assert np.abs(ours - theirs.coef_).max() < 1e-8
    assert np.flatnonzero(ours).tolist() == [3, 8, 15, 27]


def test_nonconvex_penalties_do_not_shrink_what_they_keep() -> None:
    design, target = regression()
    kept = [3, 8, 15, 27]
    unpenalised = np.linalg.lstsq(design[:, kept], target, rcond=None)[0]
    for penalty in (MCP(0.2, edge=0.6), SCAD(0.2, edge=0.7)):
        assert np.allclose(proximal_gradient(design, target, penalty)[kept], unpenalised, atol=1e-8)
    assert np.abs(proximal_gradient(design, target, L1(0.2))[kept] - unpenalised).min() > 0.1
