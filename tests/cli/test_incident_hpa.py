"""`mcctl incident hpa-oscillation`: its sources, its exit codes, and the one thing it changes."""

from __future__ import annotations

import itertools
import json
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler

import pytest
from tests.fake_cluster import TOKEN, Cluster, hpa, rescaled
from tests.loopback import serving
from typer.testing import CliRunner

from mc_ops.autoscaler.replay import Rules, Trace, replay
from mc_ops.cli.incident import app

NAME = "agent-workbench"
CRON = [12.0 if step * 15 % 600 < 60 else 4.0 for step in range(241)]


def seen(until_s):
    """An hour of a 10-minute cron under the default window, ending then."""
    trace = Trace(until_s - 3600, tuple(CRON), 4)
    return replay(trace, Rules(min_replicas=3, max_replicas=20))


def events_of(series):
    moves = [after for before, after in itertools.pairwise(series) if before[1] != after[1]]
    return [rescaled(datetime.fromtimestamp(at, UTC).isoformat(), count) for at, count in moves]


def call(*argv, text=None):
    return CliRunner().invoke(app, ["hpa-oscillation", *map(str, argv)], input=text)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    made = Cluster(tmp_path)
    made.hpas[NAME] = hpa()
    made.events = events_of(seen(time.time()))
    monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig))
    yield made
    made.stop()


@pytest.fixture
def csv_file(tmp_path):
    path = tmp_path / "series.csv"
    rows = [f"{at},{count},{load * 0.7}" for (at, count), load in zip(seen(1e9), CRON, strict=True)]
    path.write_text("time,replicas,load\n" + "\n".join(rows) + "\n")
    return path


def test_the_cluster_s_own_events_tell_and_nothing_is_changed(cluster):
    """Oscillating and not patched is exit 1; the command that would stop it is printed."""
    result = call()
    assert result.exit_code == 1, result.output
    assert "✘ oscillating" in result.stdout
    assert "window      570 s is the smallest that stops it" in result.stdout
    assert 'kubectl patch hpa agent-workbench --type=merge --patch \'{"spec"' in result.stdout
    assert "█████▁▁▁▁" in result.stdout
    assert "300 s is Kubernetes' default" in result.stdout
    assert cluster.patches == []
    assert TOKEN not in result.output


def test_patched_on_demand_it_is_read_back_with_the_way_back(cluster):
    """Exit 0, and the HPA has it."""
    result = call("--patch", "--yes", "-o", "json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["window_proposed_s"] == 570
    assert told["patched"] == {
        "window_before_s": None,
        "window_after_s": 570,
        "undo": "kubectl patch hpa agent-workbench --namespace prod --type=merge --patch "
        '\'{"spec":{"behavior":null}}\'',
    }
    assert cluster.hpas[NAME]["spec"]["behavior"] == {
        "scaleDown": {"stabilizationWindowSeconds": 570}
    }


def test_without_a_terminal_nothing_is_patched_unasked(cluster):
    """Not a TTY and no --yes is an error, not a default."""
    result = call("--patch")
    assert getattr(result.exception, "exit_code", None) == 2
    assert cluster.patches == []


def test_an_hpa_that_is_calm_is_left_alone(cluster):
    """--patch has nothing to do then."""
    cluster.events = []
    result = call("--patch", "--yes")
    assert result.exit_code == 0, result.output
    assert "✔ not oscillating" in result.stdout
    assert cluster.patches == []


def test_a_window_that_is_longer_by_now_is_not_shortened(cluster, csv_file):
    """The record is older than the repair."""
    cluster.hpas[NAME] = hpa(behavior={"scaleDown": {"stabilizationWindowSeconds": 900}})
    options = ["--series", csv_file, "--target", "0.7", "--window", "300"]
    result = call(*options, "--patch", "--yes")
    assert result.exception.exit_code == 2
    assert "window is 900 s by now, 555 s would not be longer" in result.exception.message
    assert cluster.patches == []


def test_a_load_in_a_file_gives_the_exact_window(csv_file, tmp_path):
    """The picture is a PNG; the cluster is not asked."""
    picture = tmp_path / "hpa.png"
    options = ["--series", csv_file, "--target", "0.7", "--window", "300"]
    result = call(*options, "--picture", picture)
    assert result.exit_code == 1, result.output
    assert "window      555 s" in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_events_from_a_pipe(cluster):
    """`kubectl get events -o json | mcctl incident hpa-oscillation --events -`."""
    text = json.dumps({"kind": "List", "items": cluster.events})
    result = call("--events", "-", "-o", "json", text=text)
    assert result.exit_code == 1, result.output
    assert json.loads(result.stdout)["verdict"] == "oscillating"


def test_too_short_a_record_cannot_tell():
    """Two reversals in ten minutes: exit 3, and JSON has null rather than false."""
    text = "time,replicas\n0,3\n200,6\n400,3\n600,3\n"
    result = call("--series", "-", "-o", "json", text=text)
    assert result.exit_code == 3, result.output
    told = json.loads(result.stdout)
    assert told["verdict"] == "could_not_tell"
    assert told["recorded"]["oscillating"] is None


@pytest.fixture
def prometheus():
    """A Prometheus that answers every range query with the cron's replicas, or its load."""
    until_s = time.time()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            replicas = seen(until_s)
            values = [
                [at, str(load * 0.7 if "cpu" in body else count)]
                for (at, count), load in zip(replicas, CRON, strict=True)
            ]
            result = [{"metric": {}, "values": values}]
            told = {"status": "success", "data": {"resultType": "matrix", "result": result}}
            data = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with serving(Handler) as url:
        yield url


def test_prometheus_gives_replicas_and_load(prometheus):
    """The load makes the answer exact."""
    result = call("--prometheus", prometheus, "--load-query", "sum(cpu)", "--target", "0.7")
    assert result.exit_code == 1, result.output
    assert "replayed    from the load" in result.stdout
    assert "window      555 s" in result.stdout


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--events", "a", "--series", "b"], "give one of"),
        (["--env", "local"], "no autoscaler runs on this machine"),
        (["--env", "cluster"], 'unknown environment "cluster"'),
        (["--series", "/nowhere/at/all"], "/nowhere/at/all cannot be read"),
        (["--series", "/dev/zero"], "not a regular file"),
        (["--prometheus", "ftp://x"], "not an http"),
        (["--hpa", "../secrets/x"], "no name of a HPA"),
    ],
)
def test_unusable_input_is_told(argv, said):
    """Exit 2."""
    result = call(*argv)
    assert getattr(result.exception, "exit_code", None) == 2
    assert said in result.exception.message


def test_a_load_without_a_target_is_unusable(csv_file):
    """What a replica should carry is nobody's guess."""
    result = call("--series", csv_file)
    assert "--target" in result.exception.message
