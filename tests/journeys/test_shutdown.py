"""A replica that is told to stop answers what it has, and loses nothing that it accepted."""

from __future__ import annotations

import os
import signal
import threading
import uuid

import psutil


def test_sigterm_amid_requests_and_an_operation_loses_nothing(platform, wait_until):
    """Each request is answered or was never accepted; the operation ends after the restart."""
    logged = len(platform.log())
    running = platform.order(delay_s=2, configuration={"returnImmediately": True}).task["id"]
    answers, stop = {}, threading.Event()

    def client():
        while not stop.is_set():
            message_id = str(uuid.uuid4())
            answers[message_id] = platform.ask(
                "What is the status of order O-2001?", message_id=message_id
            )

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    wait_until(lambda: sum(a.status == 200 for a in list(answers.values())) > 20)
    pid = platform.record("blue-1")["pid"]
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGTERM)
    gone = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    wait_until(
        lambda: not process.is_running() or process.status() in gone,
        within_s=90,
        what="the replica ended by itself",
    )
    stop.set()
    for thread in clients:
        thread.join()

    statuses = {answer.status for answer in answers.values()}
    assert statuses <= {200, 502, 503}, statuses
    assert "Traceback" not in "\n".join(platform.log()[logged:])
    platform.mcctl("up")
    for message_id, answer in answers.items():
        if answer.status == 200 and "result" in answer.body:
            assert platform.task(answer.task["id"])["status"] == answer.task["status"], message_id
    wait_until(
        lambda: platform.task(running)["status"]["state"] == "TASK_STATE_COMPLETED",
        within_s=90,
        what="the operation that was under way completed",
    )
