"""What the processes of test_communicator.py do; each gives the same in any number of them."""

import inspect
import json
import math
import os
import signal
import socket
from contextlib import nullcontext
from dataclasses import replace

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.functional import normalize

from npid.monitor import knn_monitor, merge_nearest
from pretrain import PRESETS, override, pretrain
from pretrain.communicator import SINGLE_PROCESS, open_communicator
from pretrain.losses import build
from pretrain.losses.exact import ExactConfig
from pretrain.losses.infonce import InfoNCEConfig
from pretrain.losses.nce import NCEConfig
from pretrain.losses.triplet import TripletConfig
from pretrain.memory_bank import LocalBank, ShardedBank, shard_bounds
from zoo.data.sources import open_source
from zoo.models import BACKBONES, FeatureInfo, Stage
from zoo.models.staged import StagedBackbone
from zoo.utils.files import WriteError, folder_lock

N, D, B = 997, 16, 16
OBJECTIVES = {
    "exact": ExactConfig(),
    "nce": NCEConfig(negatives=40),
    "nce shared": NCEConfig(negatives=500, shared=True, z="ema"),
    "infonce": InfoNCEConfig(negatives=40, exclude_positive=False),
    "infonce shared": InfoNCEConfig(negatives=2000, shared=True, rescale_negatives=True),
    "triplet": TripletConfig(),
}


@BACKBONES.register("no-norm")
class NoNorm(StagedBackbone):
    """Without BatchNorm, whose statistics are of one process's images: all processes agree."""

    stems = {"imagenet": 3}
    first_conv = "conv1"
    projection = "fc"
    feature_info = [FeatureInfo("conv1", 8, 2)]

    def __init__(self, embed_dim, stem, input):
        super().__init__(embed_dim, stem, input)
        self.conv1, self.fc = nn.Conv2d(3, 8, 3, 2), nn.Linear(8 * 9, embed_dim)

    def forward(self, x):
        return self.fc(self.conv1(x).relu().flatten(1))

    @property
    def stages(self):
        return [Stage("conv1", [self.conv1, nn.ReLU()])]

    def pool(self, maps):
        return maps.flatten(1)

    def trunk_and_head(self):
        raise NotImplementedError


TINY = override(
    PRESETS["digits"],
    {
        "backbone": "no-norm",
        "bank_init": "random",
        "epochs": "2",
        "batch_size": "256",
        "embed_dim": "8",
        "augment.size": "8",
        "amp": "float32",
        "loss.proximal": "1",
    },
)
NORMED = replace(TINY, backbone="resnet10", bank_init="features", bank_dtype="int8")


def new_bank(communicator, kind):
    cut = shard_bounds(N, communicator.size)
    own = LocalBank.random(
        N, D, seed=5, storage=kind, local_range=(cut[communicator.rank], cut[communicator.rank + 1])
    )
    return own if communicator.size == 1 else ShardedBank(own, N, communicator)


def objectives(communicator):
    """Losses, gradients and the bank afterwards, of the whole batch."""
    torch.manual_seed(1)
    everyone, index = normalize(torch.randn(B, D)), torch.randint(N, (B,))
    index[-1] = index[0]  # twice, in different processes
    found = {}
    for name, how in OBJECTIVES.items():
        for kind in ("float32", "bfloat16", "int8"):
            bank, objective = new_bank(communicator, kind), build(how, N, D)
            for step in range(2):
                v = communicator.local_part(everyone).clone().requires_grad_()
                losses = objective(
                    v, communicator.local_part(index), bank, torch.Generator().manual_seed(step)
                )
                losses.mean().backward()
                bank.update(communicator.local_part(index), v.detach(), 0.5)
            found |= {f"{name}, {kind}: loss": communicator.all_gather(losses.detach())}
            found |= {
                f"{name}, {kind}: gradient": communicator.all_gather(v.grad) / communicator.size
            }
            found |= {f"{name}, {kind}: {part}": t.float() for part, t in bank.state_dict().items()}
            found |= {f"{name}, {kind}: {part}": t for part, t in objective.state_dict().items()}
    return found


def neighbours(communicator):
    """The nearest of all rows, though most processes have fewer rows than are asked for."""
    torch.manual_seed(2)
    queries, labels, k = normalize(torch.randn(11, D)), torch.arange(N), 600
    start, end = shard_bounds(N, communicator.size)[communicator.rank : communicator.rank + 2]
    rows = new_bank(communicator, "float32").iter_chunks(N)
    cosines, at = (queries @ next(iter(rows)).T).topk(min(k, end - start))
    cosines, found = merge_nearest(
        communicator, cosines, labels[start + at], k, shard_bounds(11, communicator.size)
    )
    return {
        "cosines": torch.cat(communicator.all_gather_object(cosines)),
        "found": torch.cat(communicator.all_gather_object(found)),
    }


WIRED = {
    "exact": {},
    "nce": {"loss.name": "nce", "loss.z": "ema", "loss.negatives": "2048"},
    "infonce": {"loss.name": "infonce", "loss.shared": "true", "loss.proximal": "0"},
}


def wire(communicator, folder):
    """Bytes that this process put into each kind of collective in one step, counted at torch."""
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    import pretrain.memory_bank.sharded
    import pretrain.train_state

    sums, counted = dict.fromkeys(("all-gather", "all-reduce", "all-to-all"), 0), {}
    real = (
        dist.all_gather,
        dist.all_reduce,
        dist.all_to_all_single,
        pretrain.train_state.DistributedDataParallel,
    )

    def counting(kind, at, send):
        def count(*given, **named):
            sums[kind] += given[at].nbytes
            return send(*given, **named)

        return count

    class Counting(real[3]):  # sends its gradients by dist.all_reduce too
        __signature__ = inspect.signature(real[3])

        def __init__(self, *given, **named):
            super().__init__(*given, **named)
            self.register_comm_hook(None, allreduce_hook)

    dist.all_gather = counting("all-gather", 1, real[0])
    dist.all_reduce = counting("all-reduce", 0, real[1])
    dist.all_to_all_single = counting("all-to-all", 1, real[2])
    pretrain.train_state.DistributedDataParallel = Counting
    pretrain.memory_bank.sharded.ShardedBank.rows_per_lookup = (
        1 << 16
    )  # so that negatives come in several exchanges
    for name, changes in WIRED.items():
        seen = {}

        def on_step(now, seen=seen):
            seen[now["step"]] = dict(sums)

        how = override(TINY, {"epochs": "1", "eval_every": "0", **changes})
        pretrain.pretrain(
            open_source("digits"),
            folder / f"wire-{name}",
            how,
            communicator=communicator,
            on_step=on_step,
        )
        counted[name] = {kind: seen[3][kind] - seen[2][kind] for kind in sums}
    (
        dist.all_gather,
        dist.all_reduce,
        dist.all_to_all_single,
        pretrain.train_state.DistributedDataParallel,
    ) = real
    pretrain.memory_bank.sharded.ShardedBank.rows_per_lookup = 1 << 18
    return counted


class Crash(Exception):
    pass


def train(communicator, run, how=TINY, stop_at=0, **more):
    def on_step(now):
        if now["step"] == stop_at:
            raise Crash

    source = open_source("digits")
    monitor = knn_monitor(source, device="cpu", workers=0, on_score=lambda top1: None)
    pretrain(source, run, how, communicator=communicator, monitor=monitor, on_step=on_step, **more)


def resumed(communicator, folder):
    """A run in one go, and one that is cut within an epoch and resumed."""
    import pretrain.trainer

    train(communicator, folder / "whole", NORMED)
    pretrain.trainer.SAVE_EVERY = 0.0
    try:
        train(communicator, folder / "cut", NORMED, stop_at=7)
    except Crash:
        pass
    train(communicator, folder / "cut", NORMED, resume=True)
    pretrain.trainer.SAVE_EVERY = 120.0


def faults(communicator, folder):
    """What this rank raised in each."""
    import pretrain.checkpoint
    from pretrain.losses.exact import Exact

    heard = {}

    def attempt(name, run, how=TINY, **more):
        try:
            train(communicator, folder / run, how, **more)
            heard[name] = "nothing"
        except Exception as error:
            heard[name] = f"{type(error).__name__}: {error}"

    last, forward, calls = communicator.size - 1, Exact.forward, []

    def spoiled(self, v, index, bank, generator):
        calls.append(index)
        spoil = math.nan if len(calls) == 3 and communicator.rank == last else 1
        if len(calls) == 3 and communicator.rank == last:
            heard["index"] = index.tolist()
        return forward(self, v, index, bank, generator) * spoil

    pretrain.trainer.SAVE_EVERY = 0.0
    Exact.forward = spoiled
    attempt("nan", "nan")
    Exact.forward = forward

    def interrupt(self, v, index, bank, generator):
        calls.append(index)
        if len(calls) == 2 and communicator.rank == last:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, v, index, bank, generator)

    calls.clear()
    Exact.forward = interrupt
    attempt("sigterm", "sigterm")
    Exact.forward = forward
    pretrain.trainer.SAVE_EVERY = 120.0

    whole, save = folder / "whole" / "checkpoint.safetensors", pretrain.checkpoint.save
    before = whole.read_bytes()

    def full(*_):
        raise WriteError("cannot write: No space left on device")

    pretrain.checkpoint.save = full
    attempt("disk", "disk")
    pretrain.checkpoint.save = save
    attempt("begun", "whole", NORMED)
    with folder_lock(folder / "plain") if communicator.rank == 0 else nullcontext():
        attempt("held", "plain", resume=True)
    attempt("uneven", "uneven", replace(TINY, batch_size=250 if communicator.size == 4 else 251))
    attempt("parametric", "parametric", override(TINY, {"loss.name": "parametric"}))
    attempt("sync", "sync", replace(TINY, sync_bn=True))
    if communicator.rank == 0:
        assert whole.read_bytes() == before
    return heard


def work(rank, size, port, folder):
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    with open_communicator("cpu") as communicator:
        found = objectives(communicator) | neighbours(communicator)
        train(communicator, folder / "plain")
        resumed(communicator, folder)
        if rank == 0:
            torch.save(found, folder / "found.pt")
        (folder / f"wire-{rank}.json").write_text(json.dumps(wire(communicator, folder)))
        (folder / f"heard-{rank}.json").write_text(json.dumps(faults(communicator, folder)))
    assert not dist.is_initialized()


def start(size, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(work, (size, port, folder), nprocs=size, start_method="spawn")


def alone(folder):
    train(SINGLE_PROCESS, folder / "plain")
    return objectives(SINGLE_PROCESS) | neighbours(SINGLE_PROCESS)
