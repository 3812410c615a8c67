"""How the bundled model `mini` was made: data, autoencoder, diffusion model, measurements, package."""

import os

# Idle threads must not spin, or a second process on the same cores slows every step several times over.
# OpenMP reads this when torch is first imported, so it stands here, before every import of torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "100000")
