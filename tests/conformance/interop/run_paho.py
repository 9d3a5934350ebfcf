"""Eclipse Paho's interoperability suite, unmodified, against the general server (`make interop`).

The suite dials localhost:1883; both its programs run there, one after the other.
"""

import subprocess
import sys
from pathlib import Path

PORT = 1883
SUITES = ("client_test.py", "client_test5.py")


def main(checkout: str) -> int:
    directory = Path(checkout) / "interoperability"
    missing = [name for name in SUITES if not (directory / name).is_file()]
    if missing:
        print(
            f"{directory} has no {missing[0]}: give a checkout of github.com/eclipse/paho.mqtt.testing",
            file=sys.stderr,
        )
        return 2
    command = [sys.executable, "-m", "tests.conformance.interop.general_server", "--port", str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            if not said:
                print(f"the server could not listen on port {PORT}", file=sys.stderr)
                return 2
            print(said, end="", flush=True)
            codes = [
                subprocess.run([sys.executable, "-W", "ignore", name], cwd=directory, check=False).returncode
                for name in SUITES
            ]
        finally:
            server.terminate()
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
