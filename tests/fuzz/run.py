"""Fuzz one target by coverage: `python -m tests.fuzz.run TARGET --seconds 600` (or `--runs N`).

What makes it fail is written to `.fuzz/TARGET/crash-*`. Mend the fault, and put the file into `tests/fuzz/findings/TARGET/`,
where `test_targets` runs it for ever. `--list` names the targets.
"""

import argparse
import importlib
import sys
from pathlib import Path

import atheris

from tests.fuzz import MODULES


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz one target by coverage")
    parser.add_argument("target", choices=MODULES, nargs="?")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("--seconds", type=int, default=0, help="stop after so long; 0: never")
    parser.add_argument("--runs", type=int, default=-1, help="stop after so many inputs; -1: never")
    parser.add_argument("--directory", type=Path, default=Path(".fuzz"), help="corpus and crashes")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers; 0: another each time")
    given = parser.parse_args()
    if given.list:
        print(*MODULES)
        return
    if given.target is None:
        parser.error("which target?")

    with atheris.instrument_imports(include=["gateway"]):
        module = importlib.import_module(MODULES[given.target])
    directory = given.directory / given.target
    corpus = directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(module.SEEDS[given.target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    arguments = [
        sys.argv[0],
        f"-max_total_time={given.seconds}",
        f"-runs={given.runs}",
        f"-seed={given.seed}",
        "-max_len=4096",
        "-print_final_stats=1",
        f"-artifact_prefix={directory}/",
        str(corpus),
    ]
    atheris.Setup(arguments, module.TARGETS[given.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
