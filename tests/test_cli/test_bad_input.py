"""What a person can get wrong: one clear line, status 2, no traceback, and nothing written."""

from __future__ import annotations

import re
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_nets import Other
from shell import Cli

VERIFY = "verify net.onnx --against net.onnx"
EXPORT = "export cli_nets:Net -o precious.onnx"
TRAIN = "train --model cli_nets:Net --epochs 1 --train-limit 32 --out run"

BAD_FILES = [
    ("missing.onnx", "missing.onnx.*No such file"),
    ("empty.onnx", "empty.onnx"),
    ("truncated.onnx", "truncated.onnx.*(truncated|cut short)"),
    ("text.onnx", "text.onnx.*not an ONNX file"),
    ("folder", "folder.*[Dd]irectory"),
]
USES = [
    "shrink {} -o precious.onnx",
    "prune {} -o precious.onnx --keep 0.5",
    "inspect {}",
    "verify {} --against net.onnx",
    "verify net.onnx --against {}",
    "bench {}",
]

BAD_OPTIONS = [
    # where results go
    ("shrink net.onnx -o text.onnx/below/slim.onnx", "text.onnx/below/slim.onnx.*a file, not a folder"),
    ("shrink net.onnx -o /proc/slim.onnx", "cannot write /proc/slim.onnx"),
    ("shrink net.onnx -o folder", "cannot write folder: it is a folder"),
    ("shrink net.onnx -o .", "cannot write .: it is a folder"),
    ("shrink net.onnx -o net.onnx", "net.onnx is named for two files"),
    ("shrink net.onnx -o slim.onnx --json slim.json", "slim.json is named for two files"),
    ("shrink net.onnx -o slim.onnx --certificate folder", "cannot write folder"),
    (f"{VERIFY} --json folder", "cannot write folder"),
    ("bench net.onnx --plot folder", "cannot write folder"),
    ("export cli_nets:Net -o folder --input 1x8x8", "cannot write folder"),
    ("prune net.onnx -o folder --keep 0.5", "cannot write folder"),
    ("prune net.onnx -o net.onnx --keep 0.5", "net.onnx is named for two files"),
    # prune
    ("prune net.onnx -o precious.onnx", "exactly one of --keep, --params"),
    ("prune net.onnx -o precious.onnx --keep 0.5 --macs 0.5", "exactly one of --keep, --params"),
    ("prune net.onnx -o precious.onnx --keep nan", "--keep nan: give a finite number"),
    ("prune net.onnx -o precious.onnx --keep 0", "--keep 0.0: give a fraction"),
    ("prune net.onnx -o precious.onnx --macs 0.001", "0.1% of the MACs cannot be reached"),
    ("prune net.onnx -o precious.onnx --keep 0.5 --criterion l3", "unknown criterion 'l3'; did you mean 'l"),
    # data
    (f"{VERIFY} --data digts", "unknown data set 'digts'; did you mean 'digits'"),
    (f"{VERIFY} --data cifar10", "cifar10 needs --data-dir"),
    (f"{VERIFY} --data cifar10 --data-dir folder", "no cifar10 in folder.*must contain"),
    (f"{VERIFY} --data imagefolder --data-dir folder", "imagefolder expects"),
    (f"{VERIFY} --data nobody:nothing", "no module 'nobody'"),
    (
        "verify colour.onnx --against colour.onnx --data digits",
        r"float\[N, 3, 8, 8\] at 'input', and .* \[n, 1, 8, 8\]",
    ),
    ("shrink net.onnx -o precious.onnx --data digts", "did you mean 'digits'"),
    ("shrink colour.onnx -o precious.onnx --data digits", "and data comes as"),
    # verify
    ("verify net.onnx --against renamed.onnx", "outputs differ: logits.*output"),
    ("verify net.onnx --against colour.onnx", r"input .input. is float\[N, 3, 8, 8\] in colour.onnx and .*1, 8, 8"),
    (f"{VERIFY} --max-drop 1", "--max-drop.*--data"),
    (f"{VERIFY} --provider cudda", "unknown provider 'cudda'; did you mean 'cuda'"),
    (f"{VERIFY} --rtol inf", "--rtol inf: give a finite number"),
    (f"{VERIFY} --data digits --max-drop nan", "--max-drop nan: give a finite number"),
    (f"{VERIFY} --provider openvino", "'openvino' cannot be used here.*those here: .*cpu"),
    (f"{VERIFY} --session thread=2", "unknown setting 'thread'; did you mean 'threads'"),
    (f"{VERIFY} --session threads", "--session threads: give NAME=VALUE"),
    (f"{VERIFY} --session threads=many", "--session threads=many: give a whole number"),
    (f"{VERIFY} --session spinning=maybe", "--session spinning=maybe: give on or off"),
    (f"{VERIFY} --session optimisation=most", "unknown optimisation 'most'"),
    (f"{VERIFY} --session affinity=2", "affinity = '2'.*threads is not set"),
    (f"{VERIFY} --session cuda-graph=on", "cuda_graph needs the provider cuda"),
    (f"{VERIFY} --session gpu=first", "--session gpu=first: give a whole number from 0"),
    (f"{VERIFY} --session gpu=1", "gpu = 1 needs the provider cuda or tensorrt"),
    (f"{VERIFY} --session free-dims=N", "free-dims=N: give a whole number"),
    (f"{VERIFY} --session free-dims=3", "free-dims=3: give NAME:SIZE"),
    (f"{VERIFY} --session free-dims=M:3", "no dynamic size 'M'; it has: N"),
    (f"{VERIFY} --dim height=3", "no dynamic size 'height'; it has: N"),
    (f"{VERIFY} --dim N=none", "--dim N=none: give a whole number"),
    (f"{VERIFY} --input z=1", "no input 'z'; it has: input"),
    (f"{VERIFY} --input input=missing.npz", "input=missing.npz: No such file"),
    (f"{VERIFY} --input input=text.onnx", "text.onnx is no npy file"),
    (f"{VERIFY} --tolerance out=1,1", "unknown output 'out'; did you mean 'output'"),
    (f"{VERIFY} --tolerance output=1", "give RTOL,ATOL"),
    (f"{VERIFY} --tolerance output=1,nan", "give RTOL,ATOL"),
    (f"{VERIFY} --data digits --task segmentaton", "did you mean 'segmentation'"),
    (f"{VERIFY} --data digits --task nobody:nothing", "no module 'nobody'"),
    (f"{VERIFY} --certificate text.onnx", "--bisect"),
    ("verify net.onnx", "--against"),
    ("verify other.onnx --against net.onnx --bisect --certificate text.onnx", "text.onnx is no certificate"),
    # bench
    ("bench net.onnx --against colour.onnx", "colour.onnx"),
    ("bench net.onnx --batch many", "--batch many: give positive whole numbers"),
    ("bench net.onnx --batch 0", "--batch 0: give positive whole numbers"),
    ("bench net.onnx --batch 1,,2", "--batch 1,,2: give positive whole numbers"),
    ("bench net.onnx --provider ''", "unknown provider ''"),
    ("bench net.onnx --seconds inf", "--seconds inf: give a finite number"),
    ("bench net.onnx --against net.onnx --min-speedup inf", "--min-speedup inf: give a finite number"),
    ("bench net.onnx --min-speedup 1", "--min-speedup.*--against"),
    ("bench net.onnx --max-drop 1 --data digits", "--max-drop.*--against"),
    ("bench net.onnx --against net.onnx --max-drop 1", "--max-drop and --data"),
    ("bench net.onnx --data digits", "--max-drop and --data"),
    ("bench net.onnx --widths --against net.onnx", "--widths.*one model"),
    ("bench net.onnx --mode throughput --transfers", "--transfers is about latency"),
    ("bench net.onnx --mode cold-start --plot times.png", "--plot draws latencies"),
    ("bench net.onnx --streams 2", "--streams.*--mode throughput"),
    ("bench net.onnx --mode throughput --streams none", "--streams none: give positive whole numbers"),
    ("bench net.onnx --mode cold", "unknown mode 'cold'; .*valid: latency, throughput, cold-start"),
    ("bench net.onnx --against renamed.onnx", "outputs differ: logits"),
    ("bench net.onnx --session thread=2", "did you mean 'threads'"),
    ("bench net.onnx --dim height=3", "no dynamic size 'height'"),
    ("bench net.onnx --input z=1", "no input 'z'"),
    ("bench text.onnx --widths", "text.onnx.*not an ONNX file"),
    ("bench missing.onnx --mode cold-start", "missing.onnx.*No such file"),
    # report
    ("report folder -o page.html", "folder is neither a folder of compress train nor"),
    ("report missing -o page.html", "missing"),
    ("report folder -o folder", "cannot write folder"),
    ("report folder -o page.html --bench missing.json", "cannot read missing.json"),
    ("report folder -o page.html --bench text.onnx", "text.onnx is no result of compress bench"),
    # export
    ("export nothing/here -o precious.onnx", "'nothing/here' is no file here and no model"),
    ("export resnet2O -o precious.onnx --random-init", "did you mean 'resnet20'"),
    ("export resnet20 -o precious.onnx", "no trained weights.*--random-init"),
    ("export torchvision:resnet19 -o precious.onnx", "did you mean 'resnet1"),
    ("export torchvision:resnet18 --classes 10 -o precious.onnx", "leave --classes out"),
    ("export nobody:nothing -o precious.onnx", "no module 'nobody'"),
    ("export cli_nets:Nett -o precious.onnx", "no 'Nett'"),
    ("export folder -o precious.onnx", "folder/checkpoint.pt"),
    ("export text.onnx -o precious.onnx", "text.onnx is not a checkpoint"),
    (f"{EXPORT} --input 3x224", "--input 3x224: give channels, height and width"),
    (f"{EXPORT} --input 0x8x8", "--input 0x8x8: give channels, height and width"),
    (f"{EXPORT} --input wide", "--input wide: give channels, height and width"),
    (f"{EXPORT} --input 1x8x8 --opset 99", "cannot export Net to opset 99"),
    (f"{EXPORT} --input 1x2x2", "cannot read images of 1x2x2"),
    ("export cli_nets:TwoOutputs -o precious.onnx --input 1x8x8", "one tensor, not tuple"),
    # bundles and demos; no message names a scratch file
    ("package net.onnx -o /proc/bundle", "cannot write /proc/bundle"),
    ("package colour.onnx -o bundle --data digits", "compress: colour.onnx takes float"),
    ("verify nowhere", "nowhere: no such file"),
    ("demo --out .", "holds something else than a demo"),
    # train
    ("train --out run", "needs --model"),
    (f"{TRAIN} --model resnet2O", "did you mean 'resnet20'"),
    (f"{TRAIN} --model vgg19", "cannot read images of 1x8x8"),
    (f"{TRAIN} --model torchvision:fcn_resnet50", r"into logits \[2, 10\], not \[2, 10, 8, 8\]"),
    (f"{TRAIN} --data cifar", "did you mean 'cifar10'"),
    (f"{TRAIN} --data cifar10 --data-dir folder", "no cifar10 in folder"),
    (f"{TRAIN} --method network-sliming", "did you mean 'network-slimming'"),
    (f"{TRAIN} --penalty scat", "did you mean 'scad'"),
    (f"{TRAIN} --strength much", "--strength much: give a number or auto"),
    (f"{TRAIN} --strength nan", "strength = nan"),
    (f"{TRAIN} --penalty lp:p=2", "p must lie between 0 and 1"),
    (f"{TRAIN} --penalty mcp:egde=1", "did you mean 'edge'"),
    (f"{TRAIN} --penalty mcp:edge=0.001 --strength 5", "the strength must stay below 0.11"),
    (f"{TRAIN} --path 0.1,much", "--path 0.1,much: give strengths"),
    (f"{TRAIN} --path 0.1 --strength 1", "leave --strength out"),
    (f"{TRAIN} --path 0.2,0.1", "growing strengths"),
    (f"{TRAIN} --lr inf", "--lr inf: give a finite number"),
    (f"{TRAIN} --target 1.5", "target = 1.5"),
    (f"{TRAIN} --device meta", "unknown device 'meta'; valid: auto, cpu, cuda"),
    (f"{TRAIN} --schedule cosin", "'cosine'"),
    (f"{TRAIN} --init missing.pt", "missing.pt.*No such file"),
    (f"{TRAIN} --init text.onnx", "text.onnx is not an ONNX file"),
    (f"{TRAIN} --init folder", "folder/checkpoint.pt"),
    (f"{TRAIN} --config missing.toml", "cannot read missing.toml"),
    (f"{TRAIN} --resume", "nothing to resume in run"),
    (f"{TRAIN} --out text.onnx", "cannot write text.onnx"),
    (f"{TRAIN} --out /proc/run", "cannot write /proc/run"),
]


@pytest.fixture
def refused(cli: Cli, files: Callable[[], dict[str, bytes]]) -> Callable[[str], str]:
    def check(line: str) -> str:
        before = files()
        result = cli(line)
        assert result.status == 2, result
        assert re.fullmatch(r"compress: [^\n]+\n", result.err), result.err
        assert files() == before
        return result.err

    return check


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(("name", "expected"), BAD_FILES)
def test_bad_files(name: str, expected: str, use: str, refused: Callable[[str], str]) -> None:
    message = refused(use.format(name))
    assert re.search(expected if name != "empty.onnx" else name, message), message


@pytest.mark.parametrize(("line", "expected"), BAD_OPTIONS)
def test_bad_options(line: str, expected: str, refused: Callable[[str], str]) -> None:
    assert re.search(expected, message := refused(line)), message


@pytest.mark.parametrize(
    "line",
    [
        "",
        "shrnk net.onnx",
        "shrink net.onnx",
        f"{VERIFY} --rtol -1",
        f"{VERIFY} --rtol nan",
        "bench x --seed",
    ],
)
def test_usage(line: str, cli: Cli) -> None:
    result = cli(line)
    assert result.status == 2
    assert "Usage" in result.out + result.err


def test_data_that_does_not_fit_is_not_blamed_on_the_shrunk_model(refused: Callable[[str], str]) -> None:
    assert "--no-verify" in refused("shrink colour.onnx -o precious.onnx --data digits")


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine may have a GPU")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_there(provider: str, refused: Callable[[str], str]) -> None:
    assert re.search(f"'{provider}' cannot be used here.*pip install", refused(f"{VERIFY} --provider {provider}"))


def test_a_package_that_is_not_installed(refused: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compress.demonstration", "compress.report.plots"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what Python takes for missing
    assert "pip install matplotlib" in refused("demo")


def test_checkpoints_of_another_architecture(here: Path, refused: Callable[[str], str]) -> None:
    torch.save(Other().state_dict(), here / "other.pt")
    assert re.search(r"other.pt does not fit.*conv.weight", refused(f"{TRAIN} --init other.pt"))
    assert re.search(
        r"other.pt does not fit",
        refused(f"{EXPORT} --input 1x8x8".replace("cli_nets:Net", "other.pt --model cli_nets:Net")),
    )
    assert "--model" not in refused("export other.pt -o precious.onnx")


def test_a_config_with_mistakes(here: Path, refused: Callable[[str], str]) -> None:
    config = here / "run.toml"
    for text, expected in (
        ("epoch = 3", "'epoch'; did you mean 'epochs'"),
        ("epochs = 'many'", "epochs = 'many'"),
        ("epochs =", "run.toml is not valid TOML"),
    ):
        config.write_text(text)
        assert expected in refused("train --model cli_nets:Net --out run --config run.toml")


def test_a_run_is_not_overwritten(here: Path, cli: Cli, refused: Callable[[str], str]) -> None:
    assert cli(f"{TRAIN} -q").status == 0
    assert "--resume" in refused(TRAIN)
    assert "lr was 0.1 and is now 0.5" in refused("train --out run --resume --lr 0.5")
    (here / "run" / "checkpoint.pt").write_bytes(b"")
    assert "checkpoint.pt" in refused("train --out run --resume")
    (here / "run" / "checkpoint.pt").unlink()
    assert "checkpoint" in refused("train --out run --resume")
    assert "checkpoint.pt" in refused("export run -o precious.onnx")


def test_a_diverging_training_says_so(cli: Cli) -> None:
    result = cli(f"{TRAIN} --lr 1e30 --epochs 3")
    assert result.status == 2
    assert "lower --lr" in result.err.splitlines()[-1]


@pytest.mark.parametrize("line", ["shrink net.onnx -o precious.onnx", "shrink net.onnx -o new.onnx --no-verify"])
def test_a_full_disk(line: str, start: Callable[..., object], files: Callable[[], dict[str, bytes]]) -> None:
    before = files()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

    process = start(line, limit)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert re.fullmatch(r"compress: cannot write [^\n]+ File too large\n", err), err
    assert files() == before
