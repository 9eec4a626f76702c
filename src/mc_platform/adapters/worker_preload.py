"""Imported by the fork server: what every worker needs, compiled and warm before it is forked."""

import gc

from mc_platform.pipeline.examine import screener_of_process
from mc_platform.screen.warm import warm

warm(screener_of_process())
gc.freeze()
