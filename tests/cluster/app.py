"""What the pods of the stories run: an HTTP service with readiness, a switch for load and a clean end."""

import http.server
import json
import os
import signal
import socket
import socketserver
import sys
import threading
import time
import urllib.request
from pathlib import Path

ready = threading.Event()


def about() -> dict[str, object]:
    """What a pod knows of itself."""
    status = dict(
        line.split(":\t", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":\t" in line
    )
    return {
        "pod": os.environ.get("POD_NAME"),
        "env": {k: v for k, v in os.environ.items() if k.startswith("T_")},
        "uid": os.getuid(),
        "groups": os.getgroups(),
        "capabilities": status["CapBnd"].strip(),
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "host": socket.gethostname(),
    }


def reach(target: str) -> str:
    """Whether this pod can open a URL, or a name can be resolved."""
    try:
        if target.startswith("http"):
            with urllib.request.urlopen(target, timeout=2) as answer:
                return str(answer.status)
        return socket.gethostbyname(target)
    except OSError as problem:
        return f"no: {problem}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, body = 200, json.dumps(about())
        kind, _, rest = self.path[1:].partition("/")
        if kind == "ready":
            status = 200 if ready.is_set() else 503
        elif kind == "live":
            status = 500 if Path("/tmp/sick").exists() else 200
        elif kind == "reach":
            body = reach(rest)
        elif kind == "burn":
            end = time.thread_time() + float(rest)
            while time.thread_time() < end:
                pass
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128


def stop(*_: object) -> None:
    """Answer what still comes until no endpoint names this pod, then end."""
    print("draining", flush=True)
    time.sleep(1)
    print("bye", flush=True)
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    print("started", os.environ.get("POD_IP"), flush=True)
    print("to the other stream", file=sys.stderr, flush=True)
    ready.set()
    Server(("0.0.0.0", 8080), Handler).serve_forever()
