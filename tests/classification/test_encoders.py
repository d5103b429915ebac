from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import timm.data
import torch
from PIL import Image

from aoi_tl.classification.encoders import (
    TIMM_NAMES,
    build_encoder,
    check_image_size,
    read_ultralytics,
)
from aoi_tl.errors import CheckpointError, ExperimentError

SIZES = {"resnet18": 512, "resnet50": 2048, "mobilenetv2": 1280, "vit": 768, "vit-tiny": 192,
         "efficientnet-b0": 1280}


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_features_of_every_encoder_at_more_than_one_image_size(name: str) -> None:
    encoder = build_encoder(name, "random")
    assert encoder.feature_size == SIZES[name]
    assert encoder.loaded.origin == "random"
    assert len(encoder.loaded.initialised) == len(encoder.module.state_dict())
    with torch.no_grad():
        assert encoder.module(torch.rand(2, 3, 96, 96)).shape == (2, SIZES[name])
    assert (encoder.map_layer is None) == name.startswith("vit")


def test_means_and_deviations_are_taken_off_inside() -> None:
    encoder = build_encoder("resnet18", "random")
    body = encoder.module[1]
    image = torch.rand(1, 3, 64, 64)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    sd = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(encoder.module(image), body((image - mean) / sd))


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "resnet18.a1_in1k", "vit_tiny_patch16_224"]
)
def test_any_timm_name_gives_the_features_of_its_own_pipeline(name: str) -> None:
    """Size, mean and deviation are timm's: from the same file, the same features."""
    encoder = build_encoder(name, "random", seed=3)
    config = timm.data.resolve_data_config({}, model=encoder.module[1])
    assert encoder.image_size == config["input_size"][-1]
    image = np.random.default_rng(0).integers(0, 256, (encoder.image_size,) * 2 + (3,), np.uint8)
    # An image of the right size is neither resized nor cut.
    transform = timm.data.create_transform(**{**config, "crop_pct": 1.0})
    with torch.no_grad():
        expected = encoder.module[1](transform(Image.fromarray(image))[None])
        found = encoder.module(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_tag_that_timm_does_not_have_and_a_name_near_another() -> None:
    with pytest.raises(ExperimentError, match=r"did you mean 'resnet18.a1_in1k'"):
        build_encoder("resnet18.a1_in1q", "random")
    with pytest.raises(ExperimentError, match=r"did you mean 'tf_efficientnet_lite0'"):
        build_encoder("tf_efficientnet_light0", "random")


def test_an_encoder_of_one_image_size() -> None:
    encoder = build_encoder("mixer_s32_224", "random")
    check_image_size(encoder, 224)
    with pytest.raises(ExperimentError, match=r"set train\.image_size to 224"):
        check_image_size(encoder, 96)
    assert encoder.map_layer is None


def test_safetensors_and_weights_of_another_architecture(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = timm.create_model("resnet18", pretrained=False)
    save_file(model.state_dict(), tmp_path / "mine.safetensors")
    encoder = build_encoder("resnet18.a1_in1k", str(tmp_path / "mine.safetensors"))
    assert encoder.loaded.initialised == ()
    with pytest.raises(CheckpointError, match=r"tf_efficientnet_lite0 at .*another architecture"):
        build_encoder("tf_efficientnet_lite0", str(tmp_path / "mine.safetensors"))


def test_a_name_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, create = [], timm.create_model

    def download(name: str, **arguments: object) -> object:
        if not arguments.get("pretrained"):
            return create(name, **arguments)
        asked.append(name)
        return create("resnet18", **{**arguments, "pretrained": False})

    monkeypatch.setattr(timm, "create_model", download)
    encoder = build_encoder("resnet18", "somebody/resnet18-tiles")
    assert set(asked) == {"hf-hub:somebody/resnet18-tiles"}
    assert encoder.loaded.initialised == ()
    with pytest.raises(CheckpointError, match="another architecture, resnet18"):
        build_encoder("resnet34", "somebody/resnet18-tiles")


def test_random_weights_follow_the_seed_and_leave_chance_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (build_encoder("resnet18", "random", seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    states = [e.module.state_dict()["1.conv1.weight"] for e in (one, same, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state}])
def test_local_file_is_loaded_and_told(tmp_path: Path, wrap) -> None:
    model = timm.create_model("resnet18", pretrained=False, num_classes=7)
    torch.save(wrap(model.state_dict()), tmp_path / "mine.pth")
    encoder = build_encoder("resnet18", str(tmp_path / "mine.pth"))
    assert torch.equal(encoder.module.state_dict()["1.conv1.weight"],
                       model.state_dict()["conv1.weight"])
    assert encoder.loaded.unused == ("fc.weight", "fc.bias")
    assert encoder.loaded.initialised == ()
    assert len(encoder.loaded.loaded) == len(model.state_dict()) - 2


def test_checkpoint_of_another_architecture(tmp_path: Path) -> None:
    model = timm.create_model("mobilenetv2_100", pretrained=False)
    torch.save(model.state_dict(), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"resnet18 at .*another architecture: 60 of 60"):
        build_encoder("resnet18", str(tmp_path / "other.pth"))
    wider = timm.create_model("resnet50", pretrained=False)
    torch.save(wider.state_dict(), tmp_path / "wider.pth")
    with pytest.raises(CheckpointError, match="another architecture"):
        build_encoder("resnet18", str(tmp_path / "wider.pth"))


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("run while loading",))


@pytest.mark.parametrize("name", ["resnet18", "file"])
def test_nothing_in_a_file_is_run(name: str, tmp_path: Path, capsys) -> None:
    file = tmp_path / "harmful.pt"
    torch.save({"model": Harmful()}, file)
    arguments = ("resnet18", str(file)) if name == "resnet18" else (str(file),)
    with pytest.raises(CheckpointError, match=r"would run .*print .*may_run_code"):
        build_encoder(*arguments)
    assert "run while loading" not in capsys.readouterr().out


def test_missing_damaged_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="got no file"):
        build_encoder(str(tmp_path / "absent.pt"))
    with pytest.raises(CheckpointError, match="nothing there"):
        build_encoder("resnet18", str(tmp_path / "absent.pth"))
    (tmp_path / "damaged.pt").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="it is damaged"):
        build_encoder(str(tmp_path / "damaged.pt"))
    with pytest.raises(ExperimentError, match="did you mean 'resnet18'"):
        build_encoder("resnet-18")
    with pytest.raises(CheckpointError, match="architecture"):
        build_encoder("yolov77n.yaml", "random")
    with pytest.raises(CheckpointError, match="weights 'random'"):
        build_encoder("yolov8n.yaml")


@pytest.mark.parametrize(
    ("name", "size"), [("yolov8n.yaml", 256), ("yolo11n-cls.yaml", 1280), ("yolov9c.yaml", 512)]
)
def test_bare_ultralytics_architectures(name: str, size: int) -> None:
    encoder = build_encoder(name, "random")
    assert encoder.feature_size == size
    assert all(parameter.requires_grad for parameter in encoder.module.parameters())


@pytest.mark.parametrize(
    ("name", "cut", "first_unused"),
    [("yolov8n.pt", 10, 12), ("yolo11n.pt", 11, 13), ("yolov5nu-backbone.pt", 10, 10)],
)
def test_backbone_of_a_detector_by_its_own_layout(
    shared: Path, name: str, cut: int, first_unused: int
) -> None:
    path = shared / "weights" / name
    encoder, model = build_encoder(str(path)), read_ultralytics(path)
    own = encoder.module.state_dict()
    for key, value in model.model.state_dict().items():
        if int(key.split(".")[0]) < cut:
            assert torch.equal(own[f"1.layers.{key}"], value)
        else:
            assert key in encoder.loaded.unused
    assert encoder.loaded.initialised == ()
    assert min(int(key.split(".")[0]) for key in encoder.loaded.unused) == first_unused
    assert len(model.yaml["backbone"]) == cut


def test_classifier_checkpoint_gives_all_but_its_last_layer(shared: Path) -> None:
    path = shared / "weights" / "yolo26n-cls.pt"
    encoder, model = build_encoder(str(path)), read_ultralytics(path)
    assert encoder.loaded.unused == ("10.linear.weight", "10.linear.bias")
    image = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        expected = model.model[-1].linear(encoder.module.eval()(image)).softmax(1)
        torch.testing.assert_close(model.eval()(image)[0], expected)


def test_random_is_taken_by_its_word(shared: Path) -> None:
    path = str(shared / "weights" / "yolov8n.pt")
    encoder = build_encoder(path, "random")
    assert encoder.loaded.loaded == ()
    key = "1.layers.0.conv.weight"
    assert not torch.equal(encoder.module.state_dict()[key],
                           build_encoder(path).module.state_dict()[key])
