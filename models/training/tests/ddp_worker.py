"""One rank of test_ranks.py: trains a few steps on synthetic scenes and writes down what it ended with."""

import argparse
import os
import sys
from pathlib import Path

import torch

from irst_edge_training import train as t


def main() -> None:
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    parser = argparse.ArgumentParser()
    t.add_arguments(parser)
    args = parser.parse_args(["--out", str(folder), *words])
    seen: list[torch.Tensor] = []
    models: list[tuple] = []
    take, update = t.Prefetch.next, t.update_ema

    def next_batch(feed):
        batch = take(feed)
        seen.append(batch[0].clone())
        return batch

    def update_ema(ema, model, step, decay):
        update(ema, model, step, decay)
        models[:] = [(model, ema)]

    t.Prefetch.next, t.update_ema = next_batch, update_ema
    pools = t.smoke_pools(1)
    result = t.train(args, pools=(pools[0], [t.Pool("smoke", pools[1][0].samples[:3], 1.0)]))
    model, ema = models[0]
    rank = os.environ.get("RANK", "0")
    state = {"model": model.state_dict(), "ema": ema.state_dict(), "first": seen[0], "steps": len(seen), "result": result}
    torch.save(state, folder / f"rank{rank}.pt")


if __name__ == "__main__":
    main()
