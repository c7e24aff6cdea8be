"""Make `import torchvision` work where its compiled operators do not load.

timm imports torchvision, though nothing here uses torchvision's compiled operators. A package
index often serves a torchvision built for CUDA, whose extension does not load beside a CPU build
of torch; torchvision passes over that and then stops all the same, because it registers shape
functions for two operators that do not exist ("operator torchvision::nms does not exist").
Declaring the two is enough: a declared operator without a kernel fails only when it is called.
"""

import sys
import threading
from importlib import import_module
from typing import Any

from pipeline.errors import StageError

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_MARK = "operator torchvision::"
_lock = threading.Lock()
_declarations: list[Any] = []
"""Kept for the life of the process: when a Library object dies, what it declared goes with it."""


def make_torchvision_importable() -> None:
    """Import torchvision, declaring the operators it lacks only if that is why it fails.

    A torchvision that works is left alone: a second declaration would clash with its own. May be
    called any number of times, from any thread. Raises StageError if torchvision is not installed
    or fails for another reason.
    """
    with _lock:
        if "torchvision" in sys.modules:
            return
        try:
            import_module("torchvision")
        except RuntimeError as error:
            if _MARK not in str(error) or _declarations:
                raise _unusable(error) from error
            _forget_half_import()
            _declare()
            _import_again()
        except (ImportError, OSError) as error:
            raise _unusable(error) from error


def _forget_half_import() -> None:
    """Python drops only the package whose import failed, not those of its modules that loaded."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


def _declare() -> None:
    from torch import library as operators

    # FRAGMENT, because it may stand beside a library that defines other operators of this name.
    open_library: Any = operators.Library
    library = open_library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _declarations.append(library)


def _import_again() -> None:
    try:
        import_module("torchvision")
    except (ImportError, OSError, RuntimeError) as error:
        raise _unusable(error) from error


def _unusable(error: Exception) -> StageError:
    reason = str(error).strip().splitlines()
    return StageError(
        f"torchvision, which timm needs, cannot be imported: {reason[0] if reason else error!r}",
        hint="install torch and torchvision of the same release (`make setup` does)",
    )
