"""One step of training: passes through the network, then the optimiser's and the method's part."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from compress.errors import UserError
from compress.methods import Method
from compress.train.config import TrainConfig
from compress.train.distributed import World
from compress.train.goal import Goal
from compress.train.mixing import Mixing


class Step:
    """Steps on whole batches, whatever the number of processes and passes.

    Each process goes through its share of the batch in ``config.accumulate`` passes of about equal size. Gradients are
    sums, weighted by the number of images, so the step is that of the batch in one pass, but for BatchNorm (each pass
    is normalised by itself; by all processes together on CUDA), and for what is drawn at random per pass.

    Args:
        model: to be trained, on its device.
        optimizer: of the model.
        method: set up on the model.
        goal: makes the loss.
        mix: makes targets.
        config: precision, passes, gradient clipping, compilation.
        world: the processes.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        method: Method,
        goal: Goal,
        mix: Mixing,
        config: TrainConfig,
        world: World,
    ) -> None:
        self.model, self.optimizer, self.method, self.goal, self.mix = model, optimizer, method, goal, mix
        self.config, self.world = config, world

    def __call__(self, images: Tensor, labels: Tensor, lr: float, total: int | None = None) -> tuple[Tensor, Tensor]:
        """Take a step at learning rate ``lr``.

        Args:
            images: this process' share of the batch, [N, C, H, W].
            labels: theirs, [N, ...].
            lr: of this step.
            total: images in the whole batch; if not given, the shares are equal.

        Returns:
            Loss of this process' images, summed, and what the task counts on them.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        total = total or len(labels) * self.world.size
        images, targets = self.mix(images, labels)
        passes = min(self.config.accumulate, len(labels) // 2) or 1
        parts = zip(*(each.tensor_split(passes) for each in (images, targets, labels)), strict=True)
        losses, counts = [], []
        for number, (image_part, target_part, label_part) in enumerate(parts, start=1):
            with self._unsynchronised() if number < passes else nullcontext():
                logits = self._forward(image_part)
                loss = self.goal.loss(logits, target_part, image_part)
                weight = len(label_part) * self.world.size / total  # gradients are averaged over the processes
                torch.autograd.backward(weight * (loss + self.method.loss_terms(self.model, logits)))
            losses.append(loss.detach() * len(label_part))
            counts.append(self.goal.counts(logits.detach(), label_part))
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.goal.after_backward()
        self.method.after_backward()
        self.optimizer.step()
        self.method.after_step(lr)
        return torch.stack(losses).sum(), torch.stack(counts).sum(0)

    @cached_property
    def _parallel(self) -> DistributedDataParallel | None:
        return DistributedDataParallel(self.model) if self.world.size > 1 else None

    @cached_property
    def _network(self) -> Callable[[Tensor], Tensor]:
        network = self._parallel or self.model
        return torch.compile(network) if self.config.compile else network

    def _forward(self, images: Tensor) -> Tensor:
        device = torch.device(self.config.device).type
        with torch.autocast(device, torch.bfloat16, enabled=self.config.precision == "bf16"):
            try:
                return self._network(images).float()
            except torch._dynamo.exc.TorchDynamoException as error:
                reason = str(error).strip().splitlines()[0]
                raise UserError(f"torch cannot compile the model ({reason}): leave --compile out") from error

    def _unsynchronised(self) -> AbstractContextManager[Any]:
        return self._parallel.no_sync() if self._parallel else nullcontext()
