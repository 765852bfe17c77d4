from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.data import DATA, Data, FolderImages, Images, Source, Spec, load
from compress.data.source import hold_out
from compress.errors import UserError

SETS = {"cifar10": (3, 32, 32), "fashion-mnist": (1, 28, 28), "digits": (1, 8, 8)}
SIZES = {"cifar10": (50_000, 10_000), "fashion-mnist": (60_000, 10_000), "digits": (1438, 359)}


@pytest.fixture(scope="session")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10 and Fashion-MNIST in torchvision's layout."""
    folder = tmp_path_factory.mktemp("data")
    subprocess.run(
        [sys.executable, shared_data / "unpack", folder, "cifar10", "fashion-mnist"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """train/ and val/ of two classes, photographs of different shapes; one class has a nested folder."""
    generator = np.random.default_rng(0)
    shapes = [(300, 400), (256, 256), (411, 270), (100, 90), (230, 700)]
    for part, count in (("train", 10), ("val", 5)):
        for name in ("cat", "dog"):
            for i in range(count):
                folder = tmp_path / part / name / ("more" if name == "dog" and i % 2 else "")
                folder.mkdir(parents=True, exist_ok=True)
                noise = generator.integers(0, 256, (9, 9, 3), dtype=np.uint8)
                height, width = shapes[i % len(shapes)]
                Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    (tmp_path / "train/cat/notes.txt").write_text("not an image")
    return tmp_path


def plain(count: int = 40) -> Source:
    spec = Spec("toy", (1, 2, 2), 4, tuple("abcd"), (0.5,), (0.5,))
    labels = np.arange(count) % 4
    images = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(2, 2).repeat(2, 3)
    return Source(spec, train=lambda: Images(images, labels), test=lambda: Images(images[:8], labels[:8]))


# What every set in memory promises


@pytest.mark.parametrize("name", SETS)
def test_sets_are_what_their_spec_says(name: str, request: pytest.FixtureRequest) -> None:
    data = load(name, None if name == "digits" else request.getfixturevalue("real"))
    spec, total = data.spec, len(data.train) + len(data.validation)
    assert spec.shape == SETS[name]
    assert (total, len(data.test)) == SIZES[name]
    assert len(spec.class_names) == len(set(spec.class_names)) == spec.classes
    for part in (data.train, data.validation, data.test):
        assert isinstance(part, Images)
        assert part.images.shape[1:] == spec.shape
        assert set(np.unique(part.labels)) == set(range(spec.classes))
        assert part.images.max() == 255
    images, labels = next(data.train.batches(1000, spec))
    assert images.dtype == np.float32 and labels.dtype == np.int64
    assert abs(images.mean()) < 0.2 and 0.8 < images.std() < 1.2


def test_cifar10_has_the_right_way_up(real: Path) -> None:
    """Labels and planes as the original batch has them."""
    batch = pickle.loads((real / "cifar-10-batches-py/test_batch").read_bytes(), encoding="bytes")
    test = load("cifar10", real).test
    assert isinstance(test, Images)
    assert (test.images.reshape(10_000, -1) == batch[b"data"]).all()
    assert test.labels.tolist() == batch[b"labels"]


def cifar100(folder: Path, **content: object) -> Path:
    """CIFAR-100 of 200 images, or of other ``content``, as Python 3 pickles it."""
    place = folder / "cifar-100-python"
    place.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3072), dtype=np.uint8)
    for part in ("train", "test"):
        labels = [i % 100 for i in range(200)]
        (place / part).write_bytes(pickle.dumps({"data": pixels, "fine_labels": labels} | content))
    return folder


def test_cifar100_is_read_in_the_original_form(tmp_path: Path) -> None:
    data = load("cifar100", cifar100(tmp_path), validation=0.5)
    names = list(data.spec.class_names)
    assert len(names) == 100 and names == sorted(names)
    assert len(data.train) == len(data.validation) == 100
    assert isinstance(data.test, Images)
    batch = pickle.loads((tmp_path / "cifar-100-python/test").read_bytes())
    assert (data.test.images.reshape(200, -1) == batch["data"]).all()
    assert data.test.labels.tolist() == batch["fine_labels"]


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    cifar100(tmp_path, extra=Trap(tmp_path / "sprung"))
    with pytest.raises(UserError, match=r"cifar100 in .* is damaged"):
        _ = load("cifar100", tmp_path).test
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [{"data": np.zeros((9, 3072), np.uint8)}, {"data": "text"}, {"fine_labels": None}])
def test_damaged_batches_give_one_clear_line(tmp_path: Path, content: dict[str, object]) -> None:
    with pytest.raises(UserError) as caught:
        _ = load("cifar100", cifar100(tmp_path, **content)).test
    assert "\n" not in str(caught.value)


# Splits


def test_digits_split_is_stratified_and_without_overlap() -> None:
    data = load("digits")
    parts = [data.train, data.validation, data.test]
    for part in parts:
        counts = np.bincount(part.labels)
        assert counts.max() - counts.min() <= max(2, 0.1 * counts.mean())
    rows = [{image.tobytes() for image in part.images} for part in parts]  # type: ignore[union-attr]
    assert not rows[0] & rows[1] and not rows[0] & rows[2] and not rows[1] & rows[2]


def test_split_depends_on_its_seed_alone() -> None:
    first, again, other = (load("digits", seed=seed) for seed in (3, 3, 4))
    assert (first.validation.images == again.validation.images).all()  # type: ignore[union-attr]
    assert not np.array_equal(first.validation.images, other.validation.images)  # type: ignore[union-attr]
    assert (first.test.images == other.test.images).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.9])
def test_hold_out_takes_the_fraction_of_every_class(fraction: float) -> None:
    labels = np.random.default_rng(0).integers(0, 5, 1000)
    held = hold_out(labels, fraction, seed=1)
    for label in range(5):
        members = held[labels == label]
        assert members.sum() == round(len(members) * fraction)


def test_the_test_set_is_read_only_when_touched() -> None:
    reads: list[str] = []
    source = plain()

    def reading(part: str) -> Images:
        reads.append(part)
        return getattr(source, part)()  # type: ignore[no-any-return]

    data = Data(Source(source.spec, train=lambda: reading("train"), test=lambda: reading("test")))
    assert reads == []
    assert len(data.train) + len(data.validation) == 40
    assert reads == ["train"]
    assert data.test is data.test
    assert reads == ["train", "test"]


# Images


def test_batches_cover_everything_in_order() -> None:
    source = plain()
    images = source.train()
    pixels, labels = zip(*images.batches(7, source.spec), strict=True)
    assert [len(part) for part in labels] == [7] * 5 + [5]
    np.testing.assert_allclose(np.concatenate(pixels)[:, 0, 0, 0], (np.arange(40) / 255 - 0.5) / 0.5, rtol=1e-5)
    assert (np.concatenate(labels) == images.labels).all()


def test_subset_takes_integers_and_masks() -> None:
    images = plain().train()
    assert images.subset(np.array([3, 1])).labels.tolist() == [3, 1]
    assert len(images.subset(images.labels == 2)) == 10


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (np.zeros((2, 1, 3, 3), np.float32), np.zeros(2, np.int64), r"got float32 \[2, 1, 3, 3\]"),
        (np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.int64), r"got uint8 \[2, 3, 3\]"),
        (np.zeros((2, 1, 3, 3), np.uint8), np.zeros(3, np.int64), r"got int64 \[3\]"),
        (np.zeros((2, 1, 3, 3), np.uint8), np.zeros(2, np.int32), r"got int32 \[2\]"),
    ],
)
def test_images_of_another_form_are_refused(images: np.ndarray, labels: np.ndarray, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Images(images, labels)


# Photographs in folders


def test_imagefolder_finds_what_torchvision_finds(photographs: Path) -> None:
    from torchvision.datasets import ImageFolder

    data = load("imagefolder", photographs, validation=0.2)
    theirs = ImageFolder(str(photographs / "val"))
    assert data.spec.class_names == tuple(theirs.classes)
    assert isinstance(data.test, FolderImages)
    ours = list(zip(map(str, data.test.paths), data.test.labels.tolist(), strict=True))
    assert ours == theirs.samples
    assert (len(data.train), len(data.validation)) == (16, 4)


def test_imagefolder_evaluates_the_same_pixels_as_torchvision(photographs: Path) -> None:
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    data = load("imagefolder", photographs)
    steps = [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(data.spec.mean, data.spec.std),
    ]
    theirs = ImageFolder(str(photographs / "val"), transforms.Compose(steps))
    pixels, labels = zip(*data.test.batches(4, data.spec), strict=True)
    assert [len(part) for part in labels] == [4, 4, 2]
    for i, (pixel, label) in enumerate(zip(np.concatenate(pixels), np.concatenate(labels), strict=True)):
        np.testing.assert_allclose(pixel, theirs[i][0].numpy(), rtol=1e-5, atol=1e-5)
        assert label == theirs[i][1]


def test_imagefolder_trains_on_random_views_that_depend_on_the_seed_and_epoch_alone(
    photographs: Path,
) -> None:
    from compress.data.augment import Loader

    data = load("imagefolder", photographs)
    loader = Loader(data.train, data.spec, 4, seed=1, train=True)
    first, again, later = ([images for images, _ in loader.epoch(epoch)] for epoch in (0, 0, 1))
    assert first[0].shape == (4, 3, 224, 224)
    assert len(first) == len(loader)
    assert all(bool((a == b).all()) for a, b in zip(first, again, strict=True))
    assert not all(bool((a == b).all()) for a, b in zip(first, later, strict=True))


@pytest.mark.parametrize("size", [(500, 300), (3000, 20), (1, 1)])
def test_random_views_have_one_size(size: tuple[int, int]) -> None:
    from compress.data import views

    image = Image.new("RGB", size)
    generator = np.random.default_rng(0)
    assert all(views.random(image, generator).shape == (3, 224, 224) for _ in range(20))
    assert views.centre(image).shape == (3, 224, 224)


def test_a_broken_photograph_is_named(photographs: Path) -> None:
    (photographs / "val/cat/1.png").write_bytes(b"nothing like an image")
    data = load("imagefolder", photographs)
    with pytest.raises(UserError, match=r"val/cat/1\.png"):
        list(data.test.batches(4, data.spec))


def test_imagefolder_says_what_is_missing(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(UserError, match="imagefolder expects train/CLASS"):
        load("imagefolder", empty)
    (photographs / "val/mouse").mkdir()
    with pytest.raises(UserError, match="'mouse' is in one of them only"):
        _ = load("imagefolder", photographs).test
    (photographs / "train/mouse").mkdir()
    with pytest.raises(UserError, match=r"no images in .*mouse"):
        _ = load("imagefolder", photographs).train


# Names and missing files


@pytest.mark.parametrize("name", [name for name in DATA if name != "digits"])
def test_missing_files_give_one_clear_line(name: str, tmp_path: Path) -> None:
    for folder, says in ((None, "needs --data-dir"), (tmp_path, str(tmp_path))):
        with pytest.raises(UserError) as caught:
            _ = load(name, folder).train
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


def test_unknown_names_give_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown data set 'cifar-10'; did you mean 'cifar10'"):
        load("cifar-10")


def test_anybodys_function_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_data.py").write_text(
        """
import numpy as np
from compress.data import Data, Images, Source, Spec
def source(data_dir):
    spec = Spec(str(data_dir), (1, 2, 2), 2, ("a", "b"), (0.5,), (0.5,))
    images = Images(np.zeros((20, 1, 2, 2), np.uint8), np.arange(20) % 2)
    return Source(spec, train=lambda: images, test=lambda: images)
def data(): return Data(source("own"), validation=0.5)
def nothing(): return None
"""
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "my_data", raising=False)
    ours = load("my_data:source", tmp_path, validation=0.2)
    assert (ours.spec.name, len(ours.train), len(ours.validation)) == (str(tmp_path), 16, 4)
    assert len(load("my_data:data").train) == 10
    with pytest.raises(UserError, match=r"must return a .*Source or Data, but its result is of type NoneType"):
        load("my_data:nothing")


def run_python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_needs_no_torch() -> None:
    run_python("import sys, compress.data; assert not {'torch', 'torchvision'} & set(sys.modules)")


def test_digits_and_imagefolder_work_without_torch(photographs: Path) -> None:
    run_python(
        f"""
import sys
from dataclasses import replace
from pathlib import Path
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from compress.data import load
for data in (load("digits"), load("imagefolder", Path({str(photographs)!r}))):
    images, labels = next(data.test.batches(4, data.spec))
    assert images.shape == (4, *data.spec.shape)
"""
    )


@pytest.mark.parametrize("label", [-1, 4])
@pytest.mark.parametrize("part", ["train", "test"])
def test_labels_that_are_no_classes_are_refused(label: int, part: str) -> None:
    whole = plain()
    images = getattr(whole, part)()
    labels = images.labels.copy()
    labels[5] = label
    source = replace(whole, **{part: lambda: Images(images.images, labels)})
    with pytest.raises(UserError, match=rf"image 5 has the label {label}, and its 4 classes are 0 to 3$"):
        getattr(Data(source), part)
