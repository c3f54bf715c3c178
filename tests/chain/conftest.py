"""The S3 server of the store's tests serves the chain too."""

from tests.infra.seaweed import seaweed

__all__ = ["seaweed"]
