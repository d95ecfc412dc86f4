"""Core ML's packages, for Apple's devices: a folder with a program and its weights.

Only Apple's systems run them. What was converted is read back, and computed in torch.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import coremltools
import torch
from coremltools.converters.mil.frontend.milproto.load import load
from torch import nn

from pnag.deploy.core_ml_program import run_program
from pnag.deploy.formats import Converted, Images, Logits
from pnag.errors import PnagError
from pnag.noise import into_log

SUFFIX = ".mlpackage"
WEIGHTS = "Data/com.apple.CoreML/weights"


@into_log()
def convert(network: nn.Module, input_shape: tuple[int, ...]) -> Converted:
    """A folder; its input is called `images`, its output `logits`, both in 32 bits.

    Raises:
        PnagError: if coremltools cannot convert the network, such as some with attention.
    """
    with torch.no_grad():
        traced = torch.jit.trace(network.eval(), torch.zeros(input_shape))
    with tempfile.TemporaryDirectory(prefix="pnag-coreml-") as folder:
        package = Path(folder, f"model{SUFFIX}")
        try:
            model = coremltools.convert(
                traced,
                inputs=[coremltools.TensorType(name="images", shape=input_shape)],
                outputs=[coremltools.TensorType(name="logits")],
                minimum_deployment_target=coremltools.target.iOS15,
                compute_precision=coremltools.precision.FLOAT32,
            )
        except Exception as error:  # it has no kind of its own
            raise PnagError(
                f"coremltools {coremltools.__version__} cannot convert this network ({error}); "
                "take onnx instead"
            ) from error
        model.save(str(package))
        program = read_program(package)
        # The manifest, which Core ML looks for first, is written last.
        named = "Manifest.json"
        files = sorted(file for file in package.rglob("*") if file.is_file())
        inside = {file.relative_to(package).as_posix(): file.read_bytes() for file in files}
    content = {named: inside.pop(named), **inside}

    def run(images: Images) -> Logits:
        with torch.no_grad():
            return run_program(program, torch.from_numpy(images)).numpy()

    return Converted({f"{SUFFIX}/{name}": data for name, data in content.items()}, run)


def read_program(package: Path) -> Any:
    """The program of a package, with the weights of its file."""
    spec = coremltools.utils.load_spec(str(package))
    return load(spec, spec.specificationVersion, str(package / WEIGHTS))
