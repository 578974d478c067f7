"""In place of `covid_lm.benchmark.worker`: reports the processes alive at its time, not speeds."""

import json
import os
import sys


def contenders_alive(parent: int) -> list[int]:
    """Process ids of a process' children that run this module or the real worker, ended or not."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                of_parent = int(file.read().rsplit(")", 1)[1].split()[1]) == parent
            with open(f"/proc/{name}/cmdline", encoding="utf-8") as file:
                command = file.read()
        except OSError:  # it has ended in the meantime
            continue
        # An ended process that nobody has waited for has an empty command line.
        if of_parent and (not command or "worker" in command):
            found.append(int(name))
    return found


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    if not request["contender"]:
        sys.exit(1)
    alive = contenders_alive(os.getppid())
    print("a library prints")
    if request["contender"] == "keras_hub" and request["case"]["batch_size"] == 3:
        sys.exit("it ran out of memory\nno room for 3")
    answer = {
        "seconds": 0.5,
        "calls": [0.5] * 5,
        "peak_bytes": 1,
        "alive": alive,
        "pid": os.getpid(),
    }
    print(json.dumps(answer))
