"""What the tests share: where the shipped model, its checkpoint and the bundled clip lie."""

from pathlib import Path

TRAINING = Path(__file__).resolve().parents[1]
MODELS = TRAINING.parent
ROOT = MODELS.parent
CHECKPOINT = TRAINING / "checkpoints" / "p2p-lite.pt"
CLIP = ROOT / "test" / "fixtures" / "drone-sky"
NORMALISATION = ROOT / "test" / "fixtures" / "normalisation.json"
