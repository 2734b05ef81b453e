"""The pictures of ``headrace demo``: samples that scikit-image and scikit-learn carry in their packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from headrace.errors import ConfigurationError

SAMPLES = {
    "skimage": (
        "data",
        (
            "coffee.png chelsea.png rocket.jpg astronaut.png camera.png cell.png coins.png color.png grass.png gravel.png "
            "brick.png horse.png hubble_deep_field.jpg ihc.png microaneurysms.png moon.png motorcycle_left.png "
            "motorcycle_right.png page.png phantom.png retina.jpg text.png logo.png"
        ),
    ),
    "sklearn": ("datasets/images", "china.jpg flower.jpg"),
}
"""Package -> folder in it, and the pictures there."""


def sample_pictures() -> list[Path]:
    """The sample pictures that are installed, the best known first.

    Raises:
        ConfigurationError: the packages are not installed.
    """
    found = [path for package, (folder, names) in SAMPLES.items() for path in _pictures(package, folder, names)]
    if not found:
        raise ConfigurationError("The sample pictures are not installed", hint="pip install 'headrace[pictures]'")
    return found


def _pictures(package: str, folder: str, names: str) -> list[Path]:
    spec = find_spec(package)  # looks, and does not import: scikit-learn takes a second
    if spec is None or spec.origin is None:
        return []
    paths = [Path(spec.origin).parent / folder / name for name in names.split()]
    return [path for path in paths if path.is_file()]
