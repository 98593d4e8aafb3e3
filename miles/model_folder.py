"""What lies in a model's folder, read without the libraries that the model itself needs."""

import json
from pathlib import Path
from typing import Any

from miles.errors import ModelUnavailable

MANIFEST = "manifest.json"


def manifest(folder: Path) -> Any:
    """What the manifest says, whatever that is. Raises ModelUnavailable if there is none that can be read."""
    path = folder / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelUnavailable(
            f"There is no model in {folder}: {MANIFEST} is missing. "
            "Restore the folder from the repository, or make one with `python -m training`."
        ) from error
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{path} can't be read; restore it from the repository.") from error
