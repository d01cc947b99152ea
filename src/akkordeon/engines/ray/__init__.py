"""The engine on Ray. The only package that imports it, when it is used; needs the extra `akkordeon[ray]`."""

from akkordeon.engines.ray.engine import Ray

__all__ = ["Ray"]
