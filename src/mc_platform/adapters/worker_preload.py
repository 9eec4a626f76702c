"""Imported by the fork server: what every worker needs, compiled and warm before it is forked."""

import gc
import os

from mc_platform.adapters.spacy_pipeline import SETTING, load_recogniser
from mc_platform.pipeline.examine import screener_of_process
from mc_platform.screen.warm import warm

warm(screener_of_process(load_recogniser(os.environ.get(SETTING, ""))))
gc.freeze()
