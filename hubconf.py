"""Entry points for ``torch.hub``.

Example: ``torch.hub.load(REPOSITORY, "load", "org/name@revision")``.
"""

from zoo import create, load

dependencies = ["torch", "torchvision", "safetensors", "huggingface_hub", "jinja2"]
__all__ = ["create", "load"]
