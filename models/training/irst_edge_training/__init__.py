"""Training, export and comparison of the detector's weights."""

import torch

# PyTorch tries NNPACK for small batches, and where the processor is not supported warns at each convolution: a thousand lines in a test's log.
torch.backends.nnpack.set_flags(False)
