"""The version of the package, and of the protocol that client, daemon and worker speak."""

from typing import Final

__version__: Final = "0.1.0"

PROTOCOL: Final = 4
"""Both ends of a socket must speak the same number; raised when frames change their meaning."""
