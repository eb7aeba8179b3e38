"""Command line of the training package: ``python -m irst_edge_training train|export``."""

from __future__ import annotations

import argparse

from . import export as export_module
from . import train as train_module


def main() -> None:
    parser = argparse.ArgumentParser(prog="irst_edge_training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in (("train", train_module), ("export", export_module)):
        sub = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        module.add_arguments(sub)
        sub.set_defaults(run=module.main)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
