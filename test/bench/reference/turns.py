"""How a reference program takes turns with what it is compared with.

The bench starts it as a child process. It prepares its work, says so with one line of JSON on standard output, then runs its work
once for each line it reads from standard input and answers with the measurement, until standard input ends.
"""

import json
import sys
from collections.abc import Callable


def take_turns(facts: dict[str, object], turn: Callable[[str], dict[str, object]]) -> None:
    """Serves turns until standard input ends. `facts` go out first; `turn` is given the line that asked for it."""
    _say({"ready": True, **facts})
    for line in sys.stdin:
        _say({**turn(line.strip()), "peakBytes": peak_bytes()})


def peak_bytes() -> int:
    """Most memory this process has had resident, in bytes."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def _say(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)
