"""Reference files for the steps of images."""

from tests.detector1.conftest import reference

__all__ = ["reference"]
