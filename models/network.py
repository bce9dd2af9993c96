"""What all networks share: settings, and a configuration that creates the same network again."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

import keras

from models.kernels.native.operation import supports
from models.kernels.runner import Runner
from models.settings import Settings


class Network(keras.Model):
    """A Keras model of settings, which a user chooses, and of arguments, which follow from the data."""

    settings_class: ClassVar[type[Settings]]

    def __init__(self, settings: Settings, arguments: Mapping[str, Any], **options: Any) -> None:
        """Keep what `get_config` needs.

        Args:
            settings: of `settings_class` or a subclass, whose other fields are not stored.
            arguments: by the names of the subclass's constructor, as JSON can hold them.
            options: of `keras.Model`.
        """
        super().__init__(**options)
        self.settings: Any = self.settings_class.of(settings)
        self.arguments = MappingProxyType(dict(arguments))
        self.runner = Runner()

    def use_kernels(self, kernels: Literal["keras", "native"]) -> None:
        """Choose what runs the recurrent layers: `native` where that computes them, else Keras's layers.

        Call it before the network is part of a graph. After `make_portable` the kernels of
        `models.kernels.portable` take the place of Keras's layers; graphs with native kernels can't be saved.
        """
        self.runner.kernels = kernels

    def has_native_kernels(self) -> bool:
        """Return whether the native operation computes any of the recurrent layers."""
        layers = [layer for layer in self._flatten_layers() if isinstance(layer, keras.layers.RNN)]
        return any(supports([layer]) for layer in layers)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this network again.

        They have no dtype: the network then computes in the default of that time. So a network that was
        trained in mixed precision is loaded, exported and served in float32.
        """
        config = super().get_config()
        config.pop("dtype", None)
        return {**config, "settings": self.settings.model_dump(), **self.arguments}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Create a network from what `get_config` returned."""
        return cls(**{**config, "settings": cls.settings_class(**config["settings"])})
