"""PyTorch to ONNX by torch's current exporter, with a dynamic batch; the only file of this package that knows torch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping

import torch
from onnx import ModelProto
from torch import Tensor, nn

from graph.errors import ModelError
from graph.files.io import digest
from graph.files.metadata import strip_exporter_metadata

OPSET = 20


def export(
    module: nn.Module,
    sample: Tensor,
    *,
    name: str,
    opset: int = OPSET,
    metadata: Mapping[str, str] | None = None,
    optimize: bool = True,
) -> ModelProto:
    """The model as ONNX, in evaluation mode, with the batch size left open.

    Args:
        module: takes one tensor and returns one.
        sample: an input [batch, ...] with a batch of at least 2; with 1 the exporter would fix the batch.
        name: of the model; the graph is called by it and by a hash of the content, since engine caches key on it.
        opset: version of the default operator set.
        metadata: for the file's metadata properties.
        optimize: fold BatchNorm and whatever else is constant into weights; otherwise every parameter is an initializer
            of its own name, and holds what it holds in the module.

    Raises:
        ModelError: torch cannot export the module.
        ValueError: the sample is a batch of 1.
    """
    if len(sample) < 2:
        raise ValueError("export needs a sample batch of at least 2")
    batch = torch.export.Dim("batch")
    training = module.training
    try:
        with _quiet():
            program = torch.onnx.export(
                module.eval(),
                (sample,),
                input_names=["input"],
                output_names=["output"],
                opset_version=opset,
                dynamo=True,
                optimize=optimize,
                verbose=False,
                dynamic_shapes=({0: batch},),
            )
            assert program is not None
            if not optimize:
                _optimise_around_parameters(program)
    except Exception as error:  # the exporter wraps whatever the module raised
        cause = error.__cause__ or error
        line = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise ModelError(f"torch cannot export {type(module).__name__}: {line.strip()}") from error
    finally:
        module.train(training)
    model: ModelProto = program.model_proto
    strip_exporter_metadata(model)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    model.graph.name = name
    model.graph.name = f"{name}-{digest(model)[:12]}"
    return model


def _optimise_around_parameters(program: torch.onnx.ONNXProgram) -> None:
    """Make sizes static and fold what is constant, but for initializers: as inputs they are none to the optimiser."""
    inputs = len(program.model.graph.inputs)
    program.model.graph.inputs.extend(program.model.graph.initializers.values())
    program.optimize()
    del program.model.graph.inputs[inputs:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks on standard output, through logging and through warnings."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
