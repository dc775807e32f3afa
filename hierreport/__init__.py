"""hierreport: mixed models for nested panels, from a raw file to an auditable report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import ConfigError, DataError, FormulaError, HierreportError, ModelError

if TYPE_CHECKING:
    from .api import fit, ladder

__version__ = "0.1.0"
__all__ = [
    "ConfigError",
    "DataError",
    "FormulaError",
    "HierreportError",
    "ModelError",
    "__version__",
    "fit",
    "ladder",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: `import hierreport` alone costs nothing.
    if name in ("fit", "ladder"):
        from . import api

        return getattr(api, name)
    raise AttributeError(f"module 'hierreport' has no attribute {name!r}")
