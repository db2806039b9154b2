"""CFN-SR: the video's steps weighted by attention that the audio guides, beside themselves.

    z      = Pre(√D e_a + PE, itself)              a transformer layer: `transformer_layers.py`
    g      = LN(z[last step])
    α      = softmax_t(w · tanh(W_v e_v[t] + b + W_a g))
    output = [mean_t e_v[t] (1 + α[t]); mean_t e_a[t]], 2D

Fu, Liu, Wang, Qi, Fu, Zhou, Li, "A cross-modal fusion network based on self-attention and residual structure for
multimodal emotion recognition", arXiv:2111.02172, 2021.

v is the first of a variant's modalities, a the second. As published video and audio come from pretrained 3-D ResNeXt-50
and convolutions; five layers, each of which sees earlier steps alone, make the guide; each step's softmax is over 49
places of the image, of which this project's features have none, so here it is over time; and audio is flattened, not
averaged. The released code sums attention over the utterances of a batch; here an utterance has its own.
"""

import math

import torch
from torch import Tensor, nn

from stages.common.plan import Probability, Size
from stages.train.fusions.attention import Encodings
from stages.train.fusions.pooling import mean_over_time
from stages.train.fusions.steps import last_step, shares
from stages.train.fusions.transformer_layers import LayerNorm, PreNormLayer, position_codes
from stages.train.layers import Linear


class CFNSR(nn.Module):
    """Encodings [R, B, T, D] of two modalities, the first of them guided by the second → [R, B, 2D]."""

    def __init__(self, modalities: list[str], width: int, heads: int, dropout: float):
        super().__init__()
        self.modalities, self.size = modalities, 2 * width
        self.layer, self.norm = PreNormLayer(width, heads, dropout), LayerNorm(width)
        self.of_video, self.of_audio = Linear(width, width), Linear(width, width, bias=False)
        self.score = Linear(width, 1, bias=False)  # softmax does not see a bias

    def forward(self, encodings: Encodings) -> Tensor:
        (video, video_lengths), (audio, audio_lengths) = (encodings[name] for name in self.modalities)
        guide = self.of_audio(self.guide(audio, audio_lengths))  # (R, B, 1, D)
        scores = self.score((self.of_video(video) + guide).tanh()).squeeze(3)  # (R, B, T)
        weighted = video * (1 + shares(scores, video_lengths)[..., None])  # (R, B, T, D)
        return torch.cat([mean_over_time(weighted, video_lengths), mean_over_time(audio, audio_lengths)], dim=2)

    def guide(self, audio: Tensor, lengths: Tensor | None) -> Tensor:
        """[R, B, T, D] → g [R, B, 1, D]. Only the last step asks, since no other one's output is read."""
        x = math.sqrt(audio.shape[3]) * audio + position_codes(audio)
        return self.norm(self.layer(last_step(x, lengths), x, lengths))


def build(modalities: list[str], width: int, *, heads: Size, attention_dropout: Probability) -> CFNSR:
    """`width`: D; `heads`: H, divide it; `attention_dropout`: on the self-attention's weights."""
    return CFNSR(modalities, width, heads, attention_dropout)
