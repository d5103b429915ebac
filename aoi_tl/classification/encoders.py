"""Visual encoders: ``features = E(x)``, with a record of the weights loaded into them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoi_tl.checkpoints.opening import open_restricted, refusal_reason, refuse_packed
from aoi_tl.checkpoints.ultralytics_setup import prepare_ultralytics
from aoi_tl.errors import CheckpointError, ExperimentError

if TYPE_CHECKING:
    import torch
    from torch import nn

# Short names, as the papers have them, and timm's names for them.
TIMM_NAMES = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "mobilenetv2": "mobilenetv2_100",
    "vit": "vit_base_patch16_224",
    "vit-tiny": "vit_tiny_patch16_224",
    "efficientnet-b0": "efficientnet_b0",
}


@dataclass(frozen=True)
class Loaded:
    """The origin of an encoder's tensors.

    Attributes
    ----------
    origin : str
        ``random``, a file, or the hub's name of the checkpoint.
    loaded : tuple of str
        The encoder's tensors that hold the checkpoint's values.
    initialised : tuple of str
        The encoder's tensors that do not.
    unused : tuple of str
        The checkpoint's tensors that the encoder has no place for: its old head, as a rule.
    """

    origin: str
    loaded: tuple[str, ...]
    initialised: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.origin}: {len(self.loaded)} tensors loaded, {len(self.initialised)} "
            f"initialised, {len(self.unused)} of the checkpoint left out"
        )


@dataclass(frozen=True, eq=False)
class Encoder:
    """A network that turns images into features, ready to be fine-tuned.

    Attributes
    ----------
    name : str
        As it was asked for.
    module : torch.nn.Module
        Takes images of shape (n, 3, height, width) in 0..1, gives features of shape
        (n, feature_size). Its means and deviations are taken off inside.
    feature_size : int
        Features an image.
    loaded : Loaded
        What was loaded and what was not.
    map_layer : torch.nn.Module or None
        The last layer that still has a height and a width, for Grad-CAM; None for a transformer.
    image_size : int
        Side of the images that its weights were made with, in pixels.
    """

    name: str
    module: nn.Module
    feature_size: int
    loaded: Loaded
    map_layer: nn.Module | None
    image_size: int = 224


def build_encoder(name: str, weights: str = "hub", seed: int = 0) -> Encoder:
    """Build an encoder and fill it.

    Parameters
    ----------
    name : str
        Any name of timm's (``tf_efficientnet_lite0``, ``resnet18.a1_in1k``) or one of
        ``TIMM_NAMES``; or an Ultralytics checkpoint (``.pt``), a classifier's or a detector's, of
        which all but the last layer or the backbone is taken; or the name of an Ultralytics
        architecture (``yolov8n.yaml``, ``yolo11n-cls.yaml``) for random weights.
    weights : str
        For timm's encoders: ``hub`` (timm's own, downloaded once), a name on the Hugging Face hub
        (``owner/model``), a local ``.safetensors``, ``.pth`` or ``.pt``, or ``random``. A ``.pt``
        encoder brings its own weights unless ``random`` is asked.
    seed : int
        Of random weights.

    Returns
    -------
    Encoder
        On the CPU, all parameters trainable.

    Raises
    ------
    ExperimentError
        When the name is unknown.
    CheckpointError
        When the checkpoint is missing, damaged, unsafe, or of another architecture.

    Examples
    --------
    >>> encoder = build_encoder("resnet18", weights="random")
    >>> encoder.feature_size, encoder.loaded.origin, len(encoder.loaded.loaded)
    (512, 'random', 0)
    """
    import torch

    layer: nn.Module | None
    if name.endswith((".pt", ".yaml")):
        body, loaded, layer = _ultralytics(name, weights, seed)
        mean, sd, image_size = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 224
    else:
        body, loaded, layer = _timm(name, weights, seed)
        config = body.pretrained_cfg
        mean, sd, image_size = config["mean"], config["std"], int(config["input_size"][-1])
    module = torch.nn.Sequential(_normalisation(mean, sd), body)
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    module.eval()
    features, last = _try_out(module, image_size, layer)
    if last is None or last.ndim != 4 or last.shape[2] != last.shape[3]:
        layer = None  # a transformer's tokens, or channels last: no map of features
    return Encoder(name, module, int(features.shape[1]), loaded, layer, image_size)


def _try_out(
    module: nn.Module, size: int, layer: nn.Module | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Pass one image through; give its features and the output of a layer."""
    import torch

    seen: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda *passed: seen.append(passed[2])) if layer else None
    try:
        with torch.no_grad():
            features = module(torch.zeros(1, 3, size, size))
    finally:
        if hook is not None:
            hook.remove()
    return features, seen[0] if seen else None


def check_image_size(encoder: Encoder, size: int) -> None:
    """Check that an encoder takes images of a size.

    Parameters
    ----------
    encoder : Encoder
        Some transformers take the size that they were made for only.
    size : int
        Side in pixels.

    Raises
    ------
    ExperimentError
        When it does not.
    """
    try:
        _try_out(encoder.module, size, None)
    except (AssertionError, RuntimeError, ValueError):  # each architecture has its own
        raise ExperimentError(
            f"expected images of {encoder.image_size} px for the encoder {encoder.name!r}, got "
            f"{size} px; set train.image_size to {encoder.image_size}"
        ) from None


def _normalisation(mean: Sequence[float], sd: Sequence[float]) -> nn.Module:
    import torch
    from torch import nn

    class Normalisation(nn.Module):
        """Take off a mean and divide by a deviation, channel by channel."""

        mean: torch.Tensor
        sd: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            # No part of the state: the same encoder always has the same ones.
            self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
            self.register_buffer("sd", torch.tensor(sd).view(3, 1, 1), persistent=False)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (images - self.mean) / self.sd

    return Normalisation()


def _timm(name: str, weights: str, seed: int) -> tuple[Any, Loaded, nn.Module | None]:
    import torch

    known = TIMM_NAMES.get(name, name)
    architecture, _, tag = known.partition(".")
    _check_name(name, architecture, tag)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = _create(known)
    own = tuple(body.state_dict())
    if weights == "random":
        loaded = Loaded("random", (), own, ())
    elif weights == "hub" or _is_hub_name(weights):
        origin = known if weights == "hub" else f"hf-hub:{weights.removeprefix('hf-hub:')}"
        try:
            body = _create(origin, pretrained=True)
        except Exception as error:  # a download can raise anything
            raise CheckpointError(
                f"expected to download the weights {weights!r} of {name}, got "
                f"{type(error).__name__}; name a local file as weights, or ask for 'random'"
            ) from error
        config = body.pretrained_cfg
        if config["architecture"] != architecture:
            raise CheckpointError(
                f"expected a checkpoint of {name} at {weights}, got one of another architecture, "
                f"{config['architecture']}; name that as the encoder"
            )
        loaded = Loaded(str(config["hf_hub_id"] or weights), own, (), (str(config["classifier"]),))
    else:
        state = _read_state(Path(weights))
        adapt = getattr(__import__(type(body).__module__, fromlist=["_"]),
                        "checkpoint_filter_fn", None)
        if adapt is not None:
            state = adapt(state, body)
        loaded = _fill(body, state, name, weights)
    info = getattr(body, "feature_info", None)
    modules = dict(body.named_modules())
    layer = modules.get(str(info[-1]["module"])) if isinstance(info, list) and info else None
    return body, loaded, layer


def _check_name(name: str, architecture: str, tag: str) -> None:
    """Check that timm has an architecture, and weights of that tag where one is named."""
    try:
        import timm
    except ModuleNotFoundError:
        raise ExperimentError(
            f"expected timm for the encoder {name!r}, got none installed; "
            "pip install 'aoi-tl[classify]'"
        ) from None
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(name, [*TIMM_NAMES, *timm.list_models()], n=1)
        raise ExperimentError(
            f"expected the name of an encoder that timm has, or a .pt file, got {name!r}"
            + (f"; did you mean {near[0]!r}?" if near else "; timm.list_models() names them all")
        )
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in known:
        near = difflib.get_close_matches(tag, known, n=1, cutoff=0) or known[:1]
        raise ExperimentError(
            f"expected weights of {architecture} that timm has, got {name!r}"
            + (f"; did you mean '{architecture}.{near[0]}'?" if near else f"; say {architecture!r}")
        )


def _create(name: str, **arguments: Any) -> Any:
    """Create a timm model without its head, for any image size where it can be."""
    import timm

    try:
        return timm.create_model(name, num_classes=0, dynamic_img_size=True, **arguments)
    except TypeError:  # no transformer of that kind
        return timm.create_model(name, num_classes=0, **arguments)


def _is_hub_name(weights: str) -> bool:
    """Check if this is a name on the Hugging Face hub rather than a file."""
    if weights.startswith("hf-hub:"):
        return True
    is_file_name = weights.endswith((".safetensors", ".pth", ".pt", ".bin", ".tar", ".ckpt"))
    return weights.count("/") == 1 and not is_file_name and not Path(weights).exists()


def _read_state(path: Path) -> Mapping[str, torch.Tensor]:
    """Read a file of tensors without running code."""
    from timm.models import load_state_dict

    if not path.is_file():
        raise CheckpointError(
            f"expected weights at {path}, got nothing there; correct the path, or write 'hub'"
        )
    refuse_packed(path)
    try:
        state = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # pickle, zip, safetensors: each has its own
        raise CheckpointError(
            f"expected a file of tensors, got {path}, which {refusal_reason(error)}"
        ) from error
    return {key.removeprefix("module."): value for key, value in state.items()}


def _fill(body: nn.Module, state: Mapping[str, torch.Tensor], name: str, origin: str) -> Loaded:
    """Copy what fits by name and shape; a checkpoint that lacks a parameter is refused."""
    own = body.state_dict()
    fitting = {
        key: value for key, value in state.items()
        if key in own and own[key].shape == value.shape
    }
    lacking = [key for key, _ in body.named_parameters() if key not in fitting]
    if lacking:
        count = len(list(body.parameters()))
        raise CheckpointError(
            f"expected a checkpoint of {name} at {origin}, got one of another architecture: "
            f"{len(lacking)} of {count} parameters do not fit ({lacking[0]} first); name the "
            "encoder it was made for"
        )
    body.load_state_dict(fitting, strict=False)
    return Loaded(
        origin, tuple(fitting), tuple(key for key in own if key not in fitting),
        tuple(key for key in state if key not in fitting),
    )


def _ultralytics(
    name: str, weights: str, seed: int
) -> tuple[nn.Module, Loaded, nn.Module]:
    prepare_ultralytics()
    import torch
    from ultralytics.nn.tasks import ClassificationModel, DetectionModel

    if name.endswith(".yaml"):
        if weights != "random":
            raise CheckpointError(
                f"expected weights 'random' for the bare architecture {name}, got {weights!r}; "
                "name a .pt file to start from trained weights"
            )
        model_class = ClassificationModel if "-cls" in name else DetectionModel
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                model: Any = model_class(name, verbose=False)
            except FileNotFoundError:
                raise CheckpointError(
                    f"expected the name of an Ultralytics architecture, got {name!r}; one is "
                    "yolov8n.yaml"
                ) from None
    else:
        model = read_ultralytics(Path(name))
        if weights == "random":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = type(model)(model.yaml, verbose=False)
    if isinstance(model, ClassificationModel):
        cut, kept = len(model.model) - 1, list(model.model[:-1])
        # The head's own convolution was trained with the features; only its last layer goes.
        kept.append(model.model[-1].conv)
        reach = [*(layer.f for layer in model.model[:-1]), -1]
    else:
        cut = len(model.yaml["backbone"])
        kept = list(model.model[:cut])
        reach = [layer.f for layer in kept]
    body = _chain(kept, reach)
    own = tuple(body.state_dict())
    if weights == "random":
        return body, Loaded("random", (), own, ()), kept[-1]
    # Layers keep their numbers; of a classifier's last one the convolution is in use.
    in_use = f"{cut}.conv." if isinstance(model, ClassificationModel) else "none of them"
    unused = tuple(
        key for key in model.model.state_dict()
        if int(key.split(".")[0]) >= cut and not key.startswith(in_use)
    )
    return body, Loaded(name, own, (), unused), kept[-1]


def read_ultralytics(path: Path) -> Any:
    """Open an Ultralytics checkpoint without running code in it.

    Parameters
    ----------
    path : Path
        A ``.pt`` file of a classifier or a detector.

    Returns
    -------
    ultralytics.nn.tasks.BaseModel
        In single precision.

    Raises
    ------
    CheckpointError
        When it is missing, damaged, unsafe or of another kind.
    """
    model = open_restricted(
        path, " (the weights of a timm encoder are named as 'weights', beside the encoder)"
    )
    from ultralytics.nn.tasks import ClassificationModel, DetectionModel

    if not isinstance(model, ClassificationModel | DetectionModel):
        raise CheckpointError(
            f"expected the checkpoint of a classifier or a detector at {path}, got "
            f"{type(model).__name__}; name another file"
        )
    return model


def _chain(layers: Sequence[nn.Module], reach: Sequence[int | Sequence[int]]) -> nn.Module:
    """Layers one after another, each fed from where the architecture says, and then pooled."""
    from torch import nn

    class Backbone(nn.Module):
        """The first layers of an Ultralytics model, and their mean over the image."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.forward_intermediates(images)[-1].mean(dim=(2, 3))

        def forward_intermediates(
            self, images: torch.Tensor, intermediates_only: bool = True
        ) -> list[torch.Tensor]:
            """Give every layer's map, under the name that timm's encoders have for it."""
            outputs: list[torch.Tensor] = [images]
            for layer, source in zip(self.layers, reach, strict=True):
                # outputs[0] is the image, so layer i is found at i + 1, and -1 is the last.
                places = [i if i < 0 else i + 1 for i in
                          ([source] if isinstance(source, int) else source)]
                taken = [outputs[i] for i in places]
                outputs.append(layer(taken[0] if isinstance(source, int) else taken))
            return outputs[1:]

    return Backbone()
