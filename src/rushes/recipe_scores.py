"""The section `[scores]` of the recipe: which models score clips, and with what. `recipe.py` has the other sections."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

LABELS: dict[str, list[str]] = {
    "empty": ["an empty scene with nothing in it", "a blank wall", "an empty room", "an empty street"],
    "people": ["a person", "a group of people", "a crowd"],
    "animals": ["an animal", "a pet", "a wild animal"],
    "vehicles": ["a car", "a vehicle on a road", "a boat", "an aircraft"],
    "objects": ["an object in the foreground", "a machine", "food on a table"],
}
"""Default labels of the scorer `subject`: what is before the camera, if anything. The choice is ours and is not calibrated."""


class Section(BaseModel):
    """A section of the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ClassifierSettings(Section):
    """An image classifier of the hub, as a scorer."""

    model: str = Field(description="id on the hub, or a local folder")
    revision: str | None = Field(None, description="revision on the hub; without it a change of the weights there is not noticed")
    label: str = Field(description="the class whose probability is the score, by its name in the model's id2label")
    licence: str = Field("not stated", description="licence of the weights, for doctor and the rows")


class ScoreSettings(Section):
    """Scores by models, over stored frames of kept clips."""

    use: tuple[str, ...] = Field((), description="the scorers wanted: names of the list, of scores.classifiers, or module:Class of your own")
    images: int = Field(2, ge=1, le=64, description="frames of a clip that scorers of frames look at, evenly spread")
    encoder: str = Field("openai/clip-vit-large-patch14", description="CLIP or SigLIP, whose embeddings the other scorers take: id on the hub, or a local folder")
    encoder_revision: str | None = Field(None, description="its revision on the hub; default: the pinned one of a model that the list names")
    encoder_images: int = Field(8, ge=0, le=512, description="frames of a clip that are encoded, evenly spread; 0: all sampled ones")
    batch: int = Field(0, ge=0, description="frames in one pass of a model; 0: found")
    labels: dict[str, list[str]] = Field(LABELS, description="of the scorer subject: label -> sentences that describe it. Yours add to the default ones; an empty list takes a label out")
    templates: tuple[str, ...] = Field(("a photo of {}",), description="of the scorer subject: how a sentence is put to the encoder; {} is the sentence")
    aesthetic_model: str = Field("ttj/sac-logos-ava1-l14-linearMSE", description="head of the scorer aesthetic: id on the hub, local folder or file")
    aesthetic_revision: str | None = Field(None, description="its revision on the hub; default: the pinned one of a model that the list names")
    nsfw_clip_model: str | None = Field(None, description="head of the scorer nsfw_clip: path of LAION's clip_autokeras_binary_nsfw.pth, or of its weights as safetensors")
    faces_model: str | None = Field(None, description="of the scorer faces: path of centerface.onnx")
    classifiers: dict[str, ClassifierSettings] = Field({}, description="image classifiers of the hub, by the name of their scorer: model, revision, label, licence")

    @field_validator("labels")
    @classmethod
    def _with_the_default_labels(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        for name in value:
            if not name.isidentifier():
                raise ValueError(f"the label {name!r} becomes part of a column's name: use letters, digits and _")
        return {**LABELS, **value}

    @field_validator("templates")
    @classmethod
    def _templates_take_a_sentence(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or any(text.count("{}") != 1 for text in value):
            raise ValueError("each template must hold {} once, as in 'a photo of {}'")
        return value

    @field_validator("classifiers")
    @classmethod
    def _names_of_classifiers(cls, value: dict[str, ClassifierSettings]) -> dict[str, ClassifierSettings]:
        for name in value:
            if not name.isidentifier():
                raise ValueError(f"the scorer's name {name!r} becomes a column: use letters, digits and _")
        return value
