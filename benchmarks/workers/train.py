"""Worker: one training step per run.

Options of "article loop": "folder" (real/ and fake/ with pictures), "weights". Of "fauxface": "data"
(prepared), "preset", "weights". Of "dense product": "operations" of training on one picture. A case's spec is
empty.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from networks import cores
from serve import Opener, serve

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_ENDLESS = 100_000_000
_SIZES = (1024, 2048, 3072)


class ArticleLoop:
    """The reference article's loop as its users write it: ImageFolder, PIL, torchvision, batch 4, SGD."""

    packages: Sequence[str] = ("torch", "torchvision", "pillow")

    def __init__(self, options: dict[str, Any]) -> None:
        import torch
        from torch import nn, optim
        from torch.utils.data import DataLoader
        from torchvision import transforms
        from torchvision.datasets import ImageFolder
        from torchvision.models import resnet18

        transform = transforms.Compose(
            [
                transforms.Resize((128, 128)),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )
        self._loader = DataLoader(
            ImageFolder(options["folder"], transform),
            batch_size=4,
            shuffle=True,
            num_workers=min(4, cores()),
        )
        self._model = resnet18(weights=None)
        self._model.fc = nn.Linear(self._model.fc.in_features, 2)
        self._model.load_state_dict(torch.load(options["weights"], weights_only=True))
        self._model.train()
        self._criterion = nn.CrossEntropyLoss()
        self._optimizer = optim.SGD(self._model.parameters(), lr=0.001, momentum=0.9)
        self._batches = self._endless()
        self._loss, self._correct = 0.0, 0
        self.threads: int | None = torch.get_num_threads()

    def _endless(self) -> Iterator[Any]:
        while True:
            yield from self._loader

    def prepare(self, case: str, spec: dict[str, Any]) -> None:
        """Start the loader."""
        self.run(case)

    def run(self, case: str) -> int:
        """Train on the next batch; return its size."""
        import torch

        inputs, labels = next(self._batches)
        self._optimizer.zero_grad()
        outputs = self._model(inputs)
        _, predicted = torch.max(outputs, 1)
        loss = self._criterion(outputs, labels)
        loss.backward()
        self._optimizer.step()
        self._loss += loss.item() * len(inputs)
        self._correct += int(torch.sum(predicted == labels.data))
        return len(inputs)

    def units(self, outcome: int) -> float:
        """Return the number of pictures."""
        return outcome

    def answer(self, outcome: int) -> float:
        """Return the summed loss, which must be finite."""
        return self._loss


class Kit:
    """A preset of fauxface's trainer: its own loading, views, sampling plan and optimisation step."""

    packages: Sequence[str] = ("fauxface", "torch", "torchvision", "opencv-python-headless")

    def __init__(self, options: dict[str, Any]) -> None:
        import sys

        import torch

        from fauxface import heap
        from fauxface_train import loading, training_set
        from fauxface_train.dataset import PreparedData
        from fauxface_train.engine import Engine, pick_device
        from fauxface_train.model import build
        from fauxface_train.presets import preset
        from fauxface_train.sampling import Plan
        from fauxface_train.weights import Initial

        heap.keep_freed_memory()  # as `fauxface train` does
        recipe = preset(options["preset"]).changed(samples=_ENDLESS)
        device = pick_device("cpu")
        samples = training_set.chosen(PreparedData.load(options["data"]), "train", recipe.exclude)
        self._plan = Plan([s.label for s in samples], [s.source for s in samples], recipe)
        self._stack = ExitStack()
        crops = self._stack.enter_context(loading.decoded(samples, 4 << 30))
        net = build()
        net.load_state_dict(torch.load(options["weights"], weights_only=True))
        self._engine = Engine(
            net,
            recipe,
            device,
            lambda line: print(line, file=sys.stderr),  # noqa: T201
            Initial("pt", None, ()),
        )
        views = loading.Views(crops, recipe.degradations, recipe.seed)
        workers = loading.default_workers(device)
        self._batches = iter(loading.batches(views, self._plan.batches(), workers))
        self._recipe, self._step, self._loss = recipe, 0, 0.0
        self.threads: int | None = torch.get_num_threads()

    def prepare(self, case: str, spec: dict[str, Any]) -> None:
        """Compile, where the preset does, and start the worker processes."""
        self.run(case)

    def run(self, case: str) -> int:
        """Train on the next batch; return its size."""
        from fauxface_train.engine import rate

        crops, labels = next(self._batches)
        loss = self._engine.step(crops, labels, rate(self._recipe, self._plan, self._step), self._step)
        self._step += 1
        self._loss = float(loss)
        return len(labels)

    def units(self, outcome: int) -> float:
        """Return the number of pictures."""
        return outcome

    def answer(self, outcome: int) -> dict[str, Any]:
        """Return the last loss, the precision, and whether the network was compiled."""
        dtype = str(self._engine.dtype).removeprefix("torch.")
        return {"loss": self._loss, "precision": dtype, "compiled": self._engine.compiled}


class DenseProduct:
    """As many operations as training takes, but as square matrix products and nothing else.

    They are in the precision that the preset `robust` takes here, of the size that is fastest.
    """

    packages: Sequence[str] = ("torch",)

    def __init__(self, options: dict[str, Any]) -> None:
        import torch

        from fauxface_train.engine import pick_precision

        self._operations = float(options["operations"])
        self._dtype = pick_precision("auto", torch.device("cpu"))
        self._product = self._of(_SIZES[0])
        self.threads: int | None = torch.get_num_threads()

    def _of(self, size: int) -> tuple[Any, Any]:
        import torch

        left, right = torch.randn(2, size, size, generator=torch.Generator().manual_seed(size))
        return left.to(self._dtype), right.to(self._dtype)

    def prepare(self, case: str, spec: dict[str, Any]) -> None:
        """Choose the fastest size."""
        rates = {size: size**3 / min(_seconds(self._of(size)) for _ in range(6)) for size in _SIZES}
        self._product = self._of(max(rates, key=lambda size: rates[size]))

    def run(self, case: str) -> float:
        """Multiply once; return how many pictures the operations would have been for."""
        left, right = self._product
        left.mm(right)
        return 2 * len(left) ** 3 / self._operations

    def units(self, outcome: float) -> float:
        """Return the number of pictures."""
        return outcome

    def answer(self, outcome: float) -> dict[str, Any]:
        """Return the precision and the size; there is no loss."""
        dtype = str(self._dtype).removeprefix("torch.")
        return {"loss": 0.0, "precision": dtype, "size": len(self._product[0])}


def _seconds(product: tuple[Any, Any]) -> float:
    begun = time.perf_counter()
    product[0].mm(product[1])
    return time.perf_counter() - begun


OPENERS: dict[str, Opener] = {"article loop": ArticleLoop, "fauxface": Kit, "dense product": DenseProduct}

if __name__ == "__main__":
    serve(OPENERS)
