"""Command line of the training package: ``python -m irst_edge_training train|ablate|export|compare|baselines|decoders|lists|failures|grow|blend``."""

from __future__ import annotations

import argparse

from . import ablate, baselines, blend, compare, decoders, export, failures, grow, lists, train

COMMANDS = {"train": train, "ablate": ablate, "export": export, "compare": compare, "baselines": baselines, "decoders": decoders, "lists": lists, "failures": failures, "grow": grow, "blend": blend}


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="irst_edge_training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        sub = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        module.add_arguments(sub)
        sub.set_defaults(run=module.main)
    args = parser.parse_args(words)
    args.run(args)


if __name__ == "__main__":
    main()
