"""Fuzzing by coverage, and models of who may be in."""

from collections.abc import Mapping

__all__ = ["MODULES"]

MODULES: Mapping[str, str] = {
    **dict.fromkeys(("codec", "sas_token", "topics", "dtdl", "tpm", "certificate"), "tests.fuzz.targets"),
    **dict.fromkeys(("login", "https_request"), "tests.fuzz.admission_targets"),
}
"""The fuzz targets, and where each is: a run imports, and so instruments, only what its target needs."""
