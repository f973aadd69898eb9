"""The model registry: versions, signatures, flavors, aliases."""

from trine import lazy

lazy.names(__name__)
