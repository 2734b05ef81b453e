"""The pictures of ``headrace demo``: samples that scikit-image and scikit-learn carry in their packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from headrace.errors import ConfigurationError

SAMPLES = {
    "skimage": "data",
    "sklearn": "datasets/images",
}
"""Package -> folder of pictures in it."""
NAMES = [
    "coffee.png",
    "chelsea.png",
    "rocket.jpg",
    "astronaut.png",
    "camera.png",
    "cell.png",
    "coins.png",
    "color.png",
    "grass.png",
    "gravel.png",
    "brick.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "microaneurysms.png",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "page.png",
    "phantom.png",
    "retina.jpg",
    "text.png",
    "logo.png",
    "china.jpg",
    "flower.jpg",
]
"""The pictures, those that show something nameable first."""


def sample_pictures() -> list[Path]:
    """The sample pictures that are installed, the best known first.

    Raises:
        ConfigurationError: the packages are not installed.
    """
    folders = [folder for package, inside in SAMPLES.items() for folder in _folder(package, inside)]
    found = [folder / name for name in NAMES for folder in folders if (folder / name).is_file()]
    if not found:
        raise ConfigurationError("The sample pictures are not installed", hint="pip install 'headrace[pictures]'")
    return found


def _folder(package: str, inside: str) -> list[Path]:
    spec = find_spec(package)  # looks, and does not import: scikit-learn takes a second
    return [Path(spec.origin).parent / inside] if spec and spec.origin else []
