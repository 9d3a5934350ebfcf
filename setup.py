"""Everything is in pyproject.toml but the optional compiled build.

    pip install '.[dev]'
    GATEWAY_COMPILE=1 pip install --no-build-isolation --no-deps --force-reinstall .

The second line compiles the rooms that a CONNECT passes through with mypyc, from the same sources
(docs/decisions/0012-compiled-build.md). It needs a C compiler, Python's headers, and what the first line installs: mypyc and
the libraries whose types it reads. Without the variable the package is pure Python.
"""

import os

from setuptools import setup

# No class in them may inherit from a class that stays interpreted (tests/unit/test_packaging.py): mypyc lays out its
# objects by itself, and such a class crashes the garbage collector.
COMPILED = [
    "gateway/admission.py",
    "gateway/attempts.py",
    "gateway/dps/grammar.py",
    "gateway/dps/session.py",
    "gateway/eager.py",
    "gateway/edge/connection.py",
    "gateway/edge/deadlines.py",
    "gateway/edge/poller.py",
    "gateway/edge/renewal.py",
    "gateway/edge/sessions.py",
    "gateway/edge/storm.py",
    "gateway/edge/v5.py",
    "gateway/enrollment/decide.py",
    "gateway/hub/grammar.py",
    "gateway/hub/properties.py",
    "gateway/hub/session.py",
    "gateway/identity/evidence.py",
    "gateway/identity/sas.py",
    "gateway/intake.py",
    "gateway/mqtt/agreement.py",
    "gateway/mqtt/codec.py",
    "gateway/mqtt/connection.py",
    "gateway/mqtt/errors.py",
    "gateway/mqtt/headers.py",
    "gateway/mqtt/packets.py",
    "gateway/mqtt/properties.py",
    "gateway/mqtt/reasons.py",
    "gateway/mqtt/topics.py",
    "gateway/mqtt/v311.py",
    "gateway/mqtt/v5.py",
    "gateway/mqtt/wire.py",
    "gateway/refusals.py",
    "gateway/registry/cache.py",
    "gateway/registry/device.py",
    "gateway/registry/registrar.py",
    "gateway/registry/registry.py",
    "gateway/session.py",
    "gateway/telemetry/envelope.py",
    "gateway/telemetry/last.py",
    "gateway/telemetry/router.py",
    "gateway/telemetry/validation.py",
    "gateway/templates/association.py",
    "gateway/tpm_keys.py",
    "gateway/trace.py",
]


def extensions() -> list[object]:
    """What mypyc makes of them; nothing unless it is asked for."""
    if os.environ.get("GATEWAY_COMPILE") != "1":
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 - needed for this build only

    return list(mypycify(COMPILED, opt_level="3", debug_level="0"))


setup(ext_modules=extensions())
