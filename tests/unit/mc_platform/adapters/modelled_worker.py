"""Screens a text with `MC_NER_PIPELINE` in a worker process; prints the calls and the detectors."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from typing import Any

from tests.fakes import DIGEST_KEYS, FINGERPRINT_KEYS

from mc_platform.adapters.spacy_pipeline import load_recogniser
from mc_platform.adapters.worker_processes import WorkerProcesses
from mc_platform.model.ids import TenantId
from mc_platform.pipeline.examine import ExaminationRoom, Examiner
from mc_platform.record import ContentFingerprints, Digester
from mc_platform.screen import LibraryScreener


class _Counted(WorkerProcesses):
    calls = 0

    async def run(self, work: Any, *args: Any) -> Any:
        self.calls += 1
        return await super().run(work, *args)


async def _main(text: str) -> None:
    entities = load_recogniser(os.environ["MC_NER_PIPELINE"])
    examiner = Examiner(
        screener=LibraryScreener(entities=entities),
        digester=Digester(DIGEST_KEYS),
        fingerprints=ContentFingerprints(FINGERPRINT_KEYS),
        entities=entities,
    )
    workers = _Counted(count=1, deadline_s=120.0)
    given = TenantId("T"), ({"text": text},), dict[str, Any]()
    there = await ExaminationRoom(examiner, workers).incoming(*given)
    await workers.close()
    here = await ExaminationRoom(examiner).incoming(*given)
    assert there.screening == here.screening
    print(workers.calls, *Counter(label.detector for label in there.screening.labels).items())


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
