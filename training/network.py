"""The network: numbers, title, the channel's past and the image, fused late behind gates.

Knows nothing about files. Not knowing something is NaN in its inputs; it makes the masks itself,
so that one graph serves drafts and candidates with anything but the title missing.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from miles.features import CONTEXT, LATEST, SETTLED

#: What the graph answers, per row. Low, middle and high are log10 relative to `Features.base`;
#: logits are before calibration.
OUTPUTS = (
    *("draft_low", "draft_middle", "draft_high", "draft_logit"),
    *("candidate_low", "candidate_middle", "candidate_high", "candidate_7d", "candidate_logit"),
)
LEVELS = (0.1, 0.5, 0.9)  # quantiles of low, middle, high

WIDTH = 96  # of the fused state
HEADS = 8  # ways to look back at the channel's titles in favour of the recent; as many without
LATELY = 0.25
SETTLED_LOG = math.log10(1 + SETTLED)  # as `features.PAST` counts days
IMAGE = 64  # of the image encoder's vector


class LookBack(nn.Module):
    """What earlier videos of the channel with a similar title did, in several ways at once.

    Attention by the likeness of titles (of meaning, of words), more or less sharp, half of the ways more
    or less in favour of the recent. Values are how far each earlier video lay above the channel's usual:
    a title about what worked before inherits some of it.
    """

    size = 3 * 2 * HEADS + 4

    def __init__(self, lately: float) -> None:
        """lately: how much the last days' videos count beside others, 0 to 1, see `features._settled`."""
        super().__init__()
        self.lately = math.log(lately)
        half = torch.tensor([3.0, 6.0, 12.0, 24.0])
        by_meaning = torch.cat([torch.linspace(2.0, 16.0, HEADS), half, torch.zeros(4)])
        by_words = torch.cat([torch.zeros(HEADS), torch.zeros(4), half])
        self.sharpness = nn.Parameter(torch.stack([by_meaning, by_words]))
        self.recency = nn.Parameter(torch.linspace(0.0, -2.0, HEADS))

    def forward(self, cosine: Tensor, past: Tensor) -> Tensor:
        """cosine (n, 20), past (n, 20, 3), NaN where there is no earlier video -> (n, size)."""
        deviation, days = past[..., 0], past[..., 1]
        known = ~torch.isnan(deviation)
        deviation = torch.nan_to_num(deviation).clamp(-2, 2)[..., None]
        days = torch.nan_to_num(days, nan=1.0)[..., None]
        alike = torch.stack([cosine, torch.nan_to_num(past[..., 2])], dim=-1) * known[..., None]
        recency = F.pad(self.recency, (0, HEADS))
        logits = alike @ self.sharpness + recency * days + self.lately * (days <= SETTLED_LOG)
        weight = torch.softmax(logits.masked_fill(~known[..., None], -1e4), dim=1) * known[..., None]
        return torch.cat(
            [
                (weight * deviation).sum(1) * 4,
                (weight * deviation.abs()).sum(1) * 4,
                (weight * alike[..., :1]).sum(1),
                alike.sum(1) / known.sum(1, keepdim=True).clamp(min=1),
                alike.masked_fill(~known[..., None], -1.0).amax(1),
            ],
            dim=-1,
        )


class Trunk(nn.Module):
    """Numbers, the channel's past and the title, fused behind a gate: (n, WIDTH)."""

    columns: Tensor

    def __init__(self, columns: list[int], width: int, lately: float) -> None:
        super().__init__()
        self.register_buffer("columns", torch.tensor(columns))
        self.look_back = LookBack(lately)
        n = 2 * len(columns) + LookBack.size
        self.numbers = nn.Sequential(nn.Linear(n, 2 * WIDTH), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * WIDTH, WIDTH))
        self.title = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(width, 48), nn.GELU(), nn.Dropout(0.1), nn.Linear(48, WIDTH)
        )
        self.gate = nn.Linear(n, 1)
        self.body = nn.Sequential(nn.GELU(), nn.Dropout(0.1), nn.Linear(WIDTH, WIDTH), nn.GELU())

    def forward(self, x: Tensor, known: Tensor, title: Tensor, cosine: Tensor, past: Tensor) -> Tensor:
        numbers = torch.cat([x[:, self.columns], known[:, self.columns], self.look_back(cosine, past)], dim=-1)
        return self.body(self.numbers(numbers) + torch.sigmoid(self.gate(numbers)) * self.title(title * 10))


class Member(nn.Module):
    """One member of the committee. Shapes as in `Network`; cosine (n, 20) of title and earlier titles.

    Two trunks: what a draft is worth is answered without the channel's last days, all else with them.
    """

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        latest = [CONTEXT.index(name) for name in LATEST]
        self.steady = Trunk([i for i in range(context) if i not in latest], width, lately=LATELY)
        self.full = Trunk(list(range(context)), width, lately=1.0)
        self.middle = nn.Linear(WIDTH, 1)
        self.draft = nn.Linear(WIDTH, 3)
        self.candidate = nn.Linear(WIDTH, 5)
        # The image speaks last and softly: it is learnt on other videos than the rest (`image_encoder.py`).
        self.image = nn.Linear(IMAGE, 2)
        nn.init.zeros_(self.image.weight)
        nn.init.zeros_(self.image.bias)

    def forward(self, x: Tensor, known: Tensor, title: Tensor, cosine: Tensor, past: Tensor, image: Tensor) -> Tensor:
        given = (x, known, title, cosine, past)
        middle = self.middle(self.steady(*given))
        state = self.full(*given)
        low, high, logit = self.draft(state).split(1, dim=-1)
        seen = ~torch.isnan(image[:, :1])
        shift = torch.tanh(self.image(torch.nan_to_num(image))) * seen
        draft = torch.cat([low, middle, high, logit], dim=-1)
        draft = draft + torch.cat([shift[:, :1].expand(-1, 3), shift[:, 1:]], dim=-1)
        return torch.cat([draft, self.candidate(state)], dim=-1)


class Network(nn.Module):
    """A committee of equals: the mean answer of `members` networks from different starts.

    context (n, c) with NaN for not known, title (n, w), history_titles (n, 20, w),
    history (n, 20, 3) NaN-padded, image (n, 64) or NaN -> (n, len(OUTPUTS)).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, context: int, width: int, members: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(context))
        self.register_buffer("scale", torch.ones(context))
        self.members = nn.ModuleList(Member(context, width) for _ in range(members))

    def standardize(self, context: Tensor) -> tuple[Tensor, Tensor]:
        known = ~torch.isnan(context)
        x = (torch.nan_to_num(context) - self.mean) / self.scale
        return (x * known).clamp(-5, 5), known.float()

    def forward(self, context: Tensor, title: Tensor, history_titles: Tensor, history: Tensor, image: Tensor) -> Tensor:
        x, known = self.standardize(context)
        cosine = (history_titles * title[:, None]).sum(-1)
        answers = [m(x, known, title, cosine, history, image) for m in self.members]
        return torch.stack(answers).mean(0)
