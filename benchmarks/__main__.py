"""`python -m benchmarks`: a short look at each layer's work. The packages and modules beside measure one of them each.

With `--json` one round's figures go to standard output, and nothing else: `benchmarks.compare` reads them.
"""

import argparse
import json
import platform
import statistics
import sys
from collections import defaultdict

from benchmarks.log import say
from benchmarks.report import ratios
from benchmarks.servers import running_servers
from benchmarks.short import BESIDE, CITY, measure, prepare

RUNS = 3


def main() -> None:
    """Measure everything, and print one table or one round's figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one round, as JSON")
    options = parser.parse_args()
    figures: dict[str, list[float]] = defaultdict(list)
    with running_servers(CITY) as servers:
        look = prepare(servers)
        for number in range(1 if options.json else RUNS):
            for what, rate in measure(look).items():
                figures[what].append(rate)
            say(f"round {number + 1}: " + ", ".join(f"{what} {rates[-1]:,.0f}/s" for what, rates in figures.items()))
    if options.json:
        print(json.dumps({what: rates[0] for what, rates in figures.items()}))
        return
    print(f"Python {platform.python_version()}, {platform.machine()}; medians of {RUNS} rounds")
    for what, rates in figures.items():
        if what not in BESIDE.values():
            print(_line(what, rates, figures))


def _line(what: str, rates: list[float], figures: dict[str, list[float]]) -> str:
    line = f"{what:<36} {statistics.median(rates):>12,.0f}/s"
    if what not in BESIDE:
        return line
    beside = figures[BESIDE[what]]
    ratio = statistics.median(ratios(rates, beside))
    return f"{line}   {BESIDE[what]:<22} {statistics.median(beside):>12,.0f}/s   ratio {ratio:.2f}"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
