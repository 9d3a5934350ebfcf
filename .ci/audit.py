# ruff: noqa: INP001, S603, T201 - a script of CI: it runs what is ours, and prints
"""Are there known vulnerabilities in what the gateway depends on? `pip-audit` asks PyPI; this says what came of it.

Where PyPI's vulnerability service can't be reached, pip-audit skips every package and calls that "no known vulnerabilities".
Here it is a warning: nothing was audited.
"""

import json
import subprocess
import sys
from typing import Any

COMMAND = ("-m", "pip_audit", "--local", "--progress-spinner", "off", "--format", "json", "--timeout", "15")


def main() -> int:
    done = subprocess.run([sys.executable, *COMMAND], capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        lines = done.stderr.strip().splitlines() or ["pip-audit said nothing"]
        print(f"WARNING: the dependencies were NOT audited: {lines[-1]}")
        return 0
    lines, code = verdict(dependencies)
    print("\n".join(lines))
    return code


def verdict(dependencies: list[dict[str, Any]]) -> tuple[list[str], int]:
    """What to print, and the exit code: 1 if something has a known vulnerability."""
    audited = [each for each in dependencies if "skip_reason" not in each]
    skipped = len(dependencies) - len(audited)
    lines = [
        f"{each['name']} {each['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no release yet'}"
        for each in audited
        for found in each["vulns"]
    ]
    code = int(bool(lines))
    if skipped > len(audited):
        lines.append(
            f"WARNING: {skipped} of {len(dependencies)} dependencies were NOT audited: PyPI's vulnerability service"
            " can't be reached from here"
        )
    elif not lines:
        lines.append(f"{len(audited)} dependencies audited, no known vulnerabilities")
    return lines, code


if __name__ == "__main__":
    sys.exit(main())
