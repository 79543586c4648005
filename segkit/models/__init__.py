"""Networks: frozen settings by YAML name, each of which builds a torch module."""

from segkit.models.base import Lattice, Model, Network, models
from segkit.models.deepmedic import DeepMedic, DeepMedicBasic, DeepMedicTiny, DeepMedicWide
from segkit.models.monai_net import MonaiNet
from segkit.models.unet3d import UNet3D

__all__ = ["DeepMedic", "DeepMedicBasic", "DeepMedicTiny", "DeepMedicWide", "Lattice", "Model", "MonaiNet", "Network", "UNet3D", "models"]
