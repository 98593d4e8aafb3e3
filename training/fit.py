"""Fits the network: one loss for both questions, with parts of the inputs hidden at random."""

import hashlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from miles.features import CONTEXT, GROUPS, HISTORY, PAST, Features, cohort
from training.dataset import Case
from training.network import IMAGE, LEVELS, OUTPUTS, Member, Network

logger = logging.getLogger(__name__)

EPOCHS = 8
BATCH = 1024
RATE = 2e-3
HIDE = {"channel": 0.08, "video": 0.04, "counts": 0.0, "title": 0.02}  # chance of hiding a group in a row
HIDE_TITLE_VECTOR = 0.05
CPU = torch.device("cpu")
HIDE_NUMBER = 0.02  # of each single number
# Weight of a draft without a channel in the answer of what it is worth: how famous a channel is behind a
# title spreads ten times as wide as what one video does within a channel, and would drown it.
NO_CHANNEL = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """Cases as arrays; row i of each belongs to case i. NaN: not known, or not asked."""

    context: np.ndarray  # (n, c) float32
    title: np.ndarray  # (n,) row of `vectors`
    history: np.ndarray  # (n, 20, 3) float32
    vectors: np.ndarray  # (titles, w) float16
    cosine: np.ndarray  # (n, 20) float32, of the title and the earlier titles; 0 where there is none
    weight: np.ndarray  # (n,)
    draft: np.ndarray  # (n,) log10 views at 24 h, relative to base
    draft_event: np.ndarray  # (n,) 0, 1
    velocity: np.ndarray  # (n,) log10 views/day over 3 days, relative to base
    velocity_7d: np.ndarray
    velocity_event: np.ndarray

    def __len__(self) -> int:
        return len(self.context)


def pad_history(features: Features) -> np.ndarray:
    """(20, 3) float32, NaN where the channel has no earlier video."""
    out = np.full((HISTORY, features.history.shape[1]), np.nan, dtype=np.float32)
    out[: len(features.history)] = features.history
    return out


def outlier_of(case: Case, features: Features) -> float | None:
    """log10 of a draft's views at 24 h over its channel's usual; None where it has no usual."""
    if case.views_24h is None or features.usual is None:
        return None
    return case.views_24h - features.usual


def to_arrays(
    cases: list[Case],
    features: list[Features],
    limits: dict[str, float],
    rows_of: dict[str, int],
    vectors: np.ndarray,
) -> Arrays:
    """Cases and their features as arrays. `rows_of`: title -> its row in `vectors` (n, w) float16."""
    n = len(cases)
    blank = {
        k: np.full(n, np.nan, dtype=np.float32)
        for k in ("draft", "draft_event", "velocity", "velocity_7d", "velocity_event")
    }
    titles = np.zeros((n, HISTORY), dtype=np.int32)
    for i, (case, f) in enumerate(zip(cases, features, strict=True)):
        titles[i, : len(f.history_titles)] = [rows_of[t] for t in f.history_titles]
        limit = limits[cohort(f.mode, f.age_days, case.input.category_id)]
        if case.views_24h is not None:
            blank["draft"][i] = case.views_24h - f.base
            outlier = outlier_of(case, f)
            if outlier is not None:
                blank["draft_event"][i] = outlier >= limit
        if case.velocity_3d is not None:
            blank["velocity"][i] = case.velocity_3d - f.base
            blank["velocity_event"][i] = case.velocity_3d >= limit
        if case.velocity_7d is not None:
            blank["velocity_7d"][i] = case.velocity_7d - f.base
    title = np.array([rows_of[c.input.title] for c in cases], dtype=np.int32)
    history = np.stack([pad_history(f) for f in features])
    return Arrays(
        context=np.stack([f.context for f in features]),
        title=title,
        history=history,
        vectors=vectors,
        cosine=cosines(title, titles, ~np.isnan(history[..., 0]), vectors),
        weight=np.array([c.weight for c in cases], dtype=np.float32),
        **blank,
    )


def cosines(title: np.ndarray, titles: np.ndarray, known: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """How like each title is to the channel's earlier ones, (n, 20) float32.

    The graph does this anew from the vectors; here it is done once, as no weight depends on it.
    """
    out = np.zeros(titles.shape, dtype=np.float32)
    for low in range(0, len(title), 2048):
        part = slice(low, low + 2048)
        one, many = vectors[title[part]].astype(np.float32), vectors[titles[part]].astype(np.float32)
        out[part] = np.einsum("nw,nhw->nh", one, many) * known[part]
    return out


def no_image(n: int) -> Tensor:
    """No case here has an image: the branch is attached afterwards."""
    return torch.full((n, IMAGE), math.nan)


def batch_inputs(a: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
    return {
        "context": torch.from_numpy(a.context[rows]),
        "title": torch.from_numpy(a.vectors[a.title[rows]].astype(np.float32)),
        "cosine": torch.from_numpy(a.cosine[rows]),
        "history": torch.from_numpy(a.history[rows]),
    }


def hide(inputs: dict[str, Tensor], rng: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """Hide whole groups in some rows, so that the network learns to do without each of them.

    Also returns by how much each draft's answer moves (n,): where its channel is hidden, it is
    asked relative to `draft_base` and no longer to the channel's usual.
    """
    context, title, history = inputs["context"].clone(), inputs["title"].clone(), inputs["history"].clone()
    cosine = inputs["cosine"].clone()
    n = len(context)
    moved = torch.zeros(n)
    for group, chance in HIDE.items():
        hidden = torch.rand(n, generator=rng) < chance
        context[hidden, GROUPS[group]] = math.nan
        if group == "channel":
            history[hidden] = math.nan
            moved[hidden] = torch.nan_to_num(inputs["context"][hidden, CONTEXT.index("median")])
            context[hidden, CONTEXT.index("above_usual")] = math.nan
    single = torch.rand(context.shape, generator=rng) < HIDE_NUMBER
    single[:, 0] = False  # draft or candidate is always known
    context[single] = math.nan
    blind = torch.rand(n, generator=rng) < HIDE_TITLE_VECTOR
    title[blind] = cosine[blind] = 0.0
    history[..., PAST.index("shared_words")] *= ~blind[:, None]
    return {"context": context, "title": title, "cosine": cosine, "history": history}, moved


def loss_of(out: Tensor, a: Arrays, rows: np.ndarray, moved: Tensor, channel: Tensor) -> Tensor:
    """Pinball losses of the quantiles and cross-entropies of the events, each over its own rows.

    `channel` (n,): whether the network was shown one.
    """

    def column(name: str) -> Tensor:
        return out[:, OUTPUTS.index(name)]

    def over(values: np.ndarray, loss, share: Tensor | float = 1.0) -> Tensor:
        y = torch.from_numpy(values[rows].astype(np.float32))
        if values is a.draft:
            y = y + moved
        asked = ~torch.isnan(y)
        each = loss(torch.nan_to_num(y)) * asked * share * torch.from_numpy(a.weight[rows].astype(np.float32))
        return each.sum() / len(rows)

    def pinball(prediction: Tensor, level: float):
        return lambda y: torch.maximum(level * (y - prediction), (level - 1) * (y - prediction))

    def event(logit: Tensor):
        return lambda y: F.binary_cross_entropy_with_logits(logit, y, reduction="none")

    total = over(a.draft_event, event(column("draft_logit"))) * 0.5
    total = total + over(a.velocity_event, event(column("candidate_logit"))) * 0.5
    total = total + over(a.velocity_7d, pinball(column("candidate_7d"), 0.5)) * 3
    for name, level in zip(("low", "middle", "high"), LEVELS, strict=True):
        share = torch.where(channel, 1.0, NO_CHANNEL) if name == "middle" else 1.0
        total = total + over(a.draft, pinball(column(f"draft_{name}"), level), share) * 3
        total = total + over(a.velocity, pinball(column(f"candidate_{name}"), level)) * 3
    return total


def fit(
    arrays: Arrays,
    rows: np.ndarray,
    seed: int,
    members: int,
    epochs: int = EPOCHS,
    device: torch.device = CPU,
    left_out: np.ndarray | None = None,
) -> Network:
    """A committee fitted on `rows`; the same seed gives the same weights on the same machine.

    `left_out` (len(arrays),) bool: of `rows`, what is not learnt from. All of `rows` set the scale of the inputs,
    so that networks that leave out different parts can sit in one committee.
    """
    network = Network(arrays.context.shape[1], arrays.vectors.shape[1], members)
    known = arrays.context[rows]
    n = np.maximum((~np.isnan(known)).sum(axis=0), 1)  # what is known of no case at all stays 0
    mean = np.nansum(known, axis=0, dtype=np.float64) / n
    network.mean.copy_(torch.from_numpy(mean.astype(np.float32)))
    spread = np.sqrt(np.nansum((known - mean) ** 2, axis=0) / n)
    network.scale.copy_(torch.from_numpy(np.where(spread > 1e-3, spread, 1.0).astype(np.float32)))
    # The matrices are small: a second thread waits more than it works, and sums in another order.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if left_out is not None:
        rows = rows[~left_out[rows]]
    for i in range(members):
        torch.manual_seed(seed * 1000 + i)
        member = Member(arrays.context.shape[1], arrays.vectors.shape[1])
        network.members[i] = _fit_member(network, member, arrays, rows, seed * 1000 + i, epochs, device)
    torch.set_num_threads(threads)
    return network.eval()


def _fit_member(
    network: Network, member: Member, a: Arrays, rows: np.ndarray, seed: int, epochs: int, device: torch.device
) -> Member:
    rng, shuffle = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    steps = epochs * math.ceil(len(rows) / BATCH)
    optimizer = torch.optim.AdamW(member.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.15)
    member.to(device).train()
    for epoch in range(epochs):
        started, total = time.monotonic(), 0.0
        order = shuffle.permutation(rows)
        for low in range(0, len(order), BATCH):
            batch = order[low : low + BATCH]
            inputs, moved = hide(batch_inputs(a, batch), rng)
            x, seen = network.standardize(inputs["context"])
            given = (x, seen, inputs["title"], inputs["cosine"], inputs["history"], no_image(len(batch)))
            out = member(*(part.to(device) for part in given))
            channel = ~torch.isnan(inputs["history"][:, 0, 0])
            loss = loss_of(out.cpu(), a, batch, moved, channel)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(member.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        logger.info("epoch %d: loss %.4f in %.1f s", epoch + 1, total / len(rows), time.monotonic() - started)
    return member.cpu()


@torch.no_grad()
def answers(network: Network, a: Arrays, rows: np.ndarray, channel: bool = True) -> np.ndarray:
    """The network's answers for `rows`, (n, len(OUTPUTS)) float32; without `channel`, hiding it."""
    out = []
    for low in range(0, len(rows), 2048):
        inputs = batch_inputs(a, rows[low : low + 2048])
        if not channel:
            inputs["context"][:, GROUPS["channel"]] = math.nan
            inputs["context"][:, CONTEXT.index("above_usual")] = math.nan
            inputs["history"][:] = math.nan
        x, known = network.standardize(inputs["context"])
        rest = inputs["title"], inputs["cosine"], inputs["history"], no_image(len(x))
        out.append(torch.stack([m(x, known, *rest) for m in network.members]).mean(0).numpy())
    return np.concatenate(out)


def folds(cases: Sequence[Case], members: int) -> np.ndarray:
    """For each case the member of the committee that never learns from its channel, (n,) int; -1: all of them do."""
    parts = 2 * members  # half of the channels tell what to promise, and each member learns from most of them
    names = [str(case.input.channel_id or case.input.key) for case in cases]
    part = np.array([int(hashlib.sha256(f"fold {name}".encode()).hexdigest(), 16) % parts for name in names])
    return np.where(part < members, part, -1)


def strangers(committee: Network, a: Arrays, rows: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """As `answers`, but each row by the member of its fold, which never met its channel: as with channels to come."""
    out = np.zeros((len(rows), len(OUTPUTS)), dtype=np.float32)
    for i in np.unique(fold[rows]):
        mine = fold[rows] == i
        out[mine] = answers(only(committee, int(i)), a, rows[mine])
    return out


def only(committee: Network, member: int) -> Network:
    """The network of one member."""
    alone = Network(len(committee.mean), 0, 0)
    alone.mean, alone.scale = committee.mean, committee.scale
    alone.members = nn.ModuleList([committee.members[member]])
    return alone.eval()
