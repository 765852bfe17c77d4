"""Which settings go together?"""

from __future__ import annotations

from compress.data import Spec
from compress.errors import UserError
from compress.train.config import TrainConfig
from compress.train.distributed import World


def check_settings(config: TrainConfig, spec: Spec, world: World) -> None:
    """Refuse settings that contradict one another, the data or the number of processes.

    Raises:
        UserError: they do.
    """
    if config.from_scratch and (config.init is None or config.method != "sgd"):
        raise UserError("--from-scratch trains what another run left, anew: give --init RUN and --method sgd")
    if spec.task != "classification" and (config.mix != "none" or config.label_smoothing):
        option = f"--mix {config.mix}" if config.mix != "none" else "--label-smoothing"
        raise UserError(f"{option} works on one label per image, and {config.data} has one per pixel: leave it out")
    for name in () if config.distill else ("distill_weight", "temperature"):
        if getattr(config, name) != TrainConfig.model_fields[name].default:
            raise UserError(f"--{name.replace('_', '-')} is of a teacher: give --distill TEACHER, or leave it out")
    if config.refine and config.distill is None:
        raise UserError("--refine begins with the answers of a teacher: give --distill TEACHER")
    if config.refine and (config.mix != "none" or config.label_smoothing):
        option = f"--mix {config.mix}" if config.mix != "none" else "--label-smoothing"
        raise UserError(f"--refine has a label of its own for every image: leave {option} out")
    shares = world.size * config.accumulate
    if config.batch_size < 2 * shares:
        raise UserError(
            f"a batch of {config.batch_size} images has no 2 for each of {world.size} processes x {config.accumulate} "
            "passes: give a larger --batch-size"
        )
