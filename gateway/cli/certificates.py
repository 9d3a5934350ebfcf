"""Certificates for devices, from the development CA that `gateway init` put beside the configuration."""

import time
from pathlib import Path

from gateway import pki
from gateway.cli.files import read_text, write_new
from gateway.errors import NotFoundError, OperationError
from gateway.settings import load_settings

__all__ = ["issue"]
