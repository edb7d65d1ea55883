"""One vision encoder."""

from __future__ import annotations


class Encoder:
    """A loaded CLIP or SigLIP."""
