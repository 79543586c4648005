"""The whole chain on phantom scans: train, predict, evaluate, by command line and from Python."""

import csv
import json
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from conftest_cli import Place, segkit  # placeholder
