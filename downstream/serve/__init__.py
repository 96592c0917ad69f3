"""A small local page: an image in, its neighbours in a store and their vote out."""

from downstream.serve.app import create_app
from downstream.serve.engine import Engine

__all__ = ["Engine", "create_app"]
