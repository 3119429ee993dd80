"""The campaign by hand:  python -m tests.faults --minutes=30 --seed=7

It goes through the groups by turns until the time is over, prints each failure with the seed that repeats it
(--group=NAME --seed=SEED --minutes=0 tries that one alone), and at the end a table: tried and survived, by group.
"""

import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from tests.faults.campaign import GROUPS, attempt, warm_up


def main(argv):
    warm_up()
    options = {"minutes": "1", "seed": "0", "group": "", **dict(each.removeprefix("--").split("=", 1) for each in argv)}
    end = time.monotonic() + 60 * float(options["minutes"])
    seed, groups = int(options["seed"]), [options["group"]] if options["group"] else list(GROUPS)
    tried, failed = dict.fromkeys(groups, 0), dict.fromkeys(groups, 0)
    while True:
        for group in groups:
            problem = attempt(group, seed)
            tried[group] += 1
            if problem:
                failed[group] += 1
                print(f"FAILED --group={group!r} --seed={seed}: {problem}\n", flush=True)
        seed += 1
        if time.monotonic() > end:
            break
    print("| faults | tried | survived |\n|---|---|---|")
    for group in groups:
        print(f"| {group} | {tried[group]} | {tried[group] - failed[group]} |")
    return 1 if any(failed.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
