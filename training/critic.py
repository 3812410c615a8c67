"""A critic that tells a student's images from its teacher's, by what the teacher's own network sees in them.

A student that only comes close to its teacher's images averages what it cannot know, and fine detail is lost. The
critic puts noise on latents of both, passes them through the first half of the frozen teacher, and learns small heads
on its features (adversarial distillation in latent space: Sauer et al., 2024, arXiv 2403.12015).
"""

import copy

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import nn


class Critic(nn.Module):
    """Logits for patches of noised latents (B, 8, h, w): high where they look like the teacher's."""

    def __init__(self, teacher: UNet2DConditionModel, width: int = 64) -> None:
        super().__init__()
        self.teacher = copy.deepcopy(teacher).requires_grad_(False).eval()
        channels = (*teacher.config.block_out_channels, teacher.config.block_out_channels[-1])
        self.heads = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(16, n), nn.Conv2d(n, width, 1), nn.SiLU(), nn.Conv2d(width, 1, 1))
            for n in channels
        )

    def forward(self, z: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, all patches of all depths)."""
        teacher = self.teacher
        embedding = teacher.time_embedding(teacher.time_proj(t).to(z.dtype))
        hidden, features = teacher.conv_in(z), []
        for block in teacher.down_blocks:
            if getattr(block, "has_cross_attention", False):
                hidden, states = block(hidden_states=hidden, temb=embedding, encoder_hidden_states=context)
            else:
                hidden, states = block(hidden_states=hidden, temb=embedding)
            features.append(states[0])
        features.append(teacher.mid_block(hidden, embedding, encoder_hidden_states=context))
        return torch.cat([head(f).flatten(1) for head, f in zip(self.heads, features, strict=True)], 1)


def critic_loss(real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """Return the hinge loss of a critic's logits."""
    loss: torch.Tensor = F.relu(1 - real).mean() + F.relu(1 + made).mean()
    return loss
