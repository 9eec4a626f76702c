"""A real Prometheus of a test; `.ci/run` installs it where it can."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.children import child

NEEDED = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed"
)


def scraping(jobs: Mapping[str, Sequence[str]], every: str = "200ms") -> dict[str, Any]:
    """Settings by which the URLs of each job are scraped so often."""
    names = ("scrape_interval", "scrape_timeout", "evaluation_interval")
    return {
        "global": dict.fromkeys(names, every),
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [{"targets": [url.removeprefix("http://") for url in urls]}],
            }
            for job, urls in jobs.items()
        ],
    }


@contextmanager
def prometheus(
    folder: Path, address: str, settings: Mapping[str, Any], *options: str
) -> Iterator[str]:
    """Run one that keeps all in `folder`; gives its URL, where it may not answer yet."""
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(settings))
    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address={address}", *options]
    with (
        (folder / "prometheus.log").open("w") as log,
        child(command, stdout=log, stderr=log) as process,
    ):
        yield f"http://{address}"
        process.terminate()
