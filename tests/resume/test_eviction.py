"""The clouds' notices, from a server on this machine that answers as they do."""

import http.server
import json
import os
import signal
import socketserver
import threading
import time

import keras_dawn
from keras_dawn.resume.eviction import (
    EVICTED,
    INTERRUPTED,
    Evicted,
    EvictionNotice,
    Notices,
    Signals,
)

import keras
import pytest

from tests.processes import wait_for
from tests.resume.test_resume import Cut


class Metadata(http.server.BaseHTTPRequestHandler):
    """AWS, GCP and Azure at once; the server's `evicted` says what they answer."""

    def do_PUT(self):
        asked = self.path == "/latest/api/token"
        good = asked and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
        self.answer(200 if good else 400, "a-token")

    def do_GET(self):
        evicted = self.server.evicted
        if self.path == "/latest/meta-data/spot/instance-action":
            if self.headers.get("X-aws-ec2-metadata-token") != "a-token":
                self.answer(401, "")
            elif evicted:
                self.answer(
                    200, json.dumps({"action": "terminate", "time": "2026-01-01T00:00:00Z"})
                )
            else:
                self.answer(404, "")
        elif self.path == "/computeMetadata/v1/instance/preempted":
            good = self.headers.get("Metadata-Flavor") == "Google"
            self.answer(200 if good else 403, "TRUE" if evicted else "FALSE")
        elif self.path.startswith("/metadata/scheduledevents?api-version="):
            events = [{"EventType": "Reboot"}] + [{"EventType": "Preempt"}] * evicted
            good = self.headers.get("Metadata") == "true"
            self.answer(200 if good else 400, json.dumps({"Events": events}))
        else:
            self.answer(500, "")

    def answer(self, status, text):
        self.server.asked += 1
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        """Nothing: the tests' output stays readable."""


@pytest.fixture
def server():
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    service.evicted, service.asked = False, 0
    thread = threading.Thread(target=service.serve_forever)
    thread.start()
    yield service
    service.shutdown()
    thread.join()
    service.server_close()


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_the_notice_is_received_when_the_cloud_gives_it_and_not_before(cloud, server):
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    notice = EvictionNotice(cloud, every_seconds=0.02, url=url)
    notices = Notices(False, notice)
    assert server.asked == 0
    notices.start(OURS)
    assert wait_for(lambda: server.asked > 4, seconds=10)
    assert notices.told() == 0
    server.evicted = True
    assert wait_for(lambda: notice.received, seconds=10)
    assert notices.told() == EVICTED
    notices.stop()


@pytest.mark.filterwarnings("ignore:.*does not answer")
def test_a_service_that_does_not_answer_is_asked_again(server):
    url = f"http://127.0.0.1:{server.server_address[1]}/elsewhere"
    notice = EvictionNotice("gcp", every_seconds=0.02, url=url)
    notice.start()
    assert wait_for(lambda: server.asked > 2, seconds=10)
    notice.stop()
    assert not notice.received


class Iterator:
    """Stands for the iterator over a `fit`'s data."""


OURS, OTHER = Iterator(), Iterator()


def fit(action, epoch_iterator=OURS):
    """Stands for `Model.fit`: signals are heeded inside only."""
    action()
    for _ in range(100):  # Python handles a signal at one of its next steps
        time.sleep(0.0001)


@pytest.fixture(autouse=True)
def usual_interrupt():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_signals_are_noted_within_fit_and_the_handlers_put_back():
    before = signal.getsignal(signal.SIGTERM)
    notices = Notices(True, None)
    notices.start(OURS)
    fit(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert notices.told() == EVICTED
    notices.stop()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_interrupt_acts_at_once():
    signals = Signals()
    signals.start(OURS)
    fit(lambda: os.kill(os.getpid(), signal.SIGINT))
    assert signals.received == signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        fit(lambda: os.kill(os.getpid(), signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_outside_of_fit_a_signal_acts_as_ever():
    notices = Notices(True, None)
    notices.start(OURS)  # a training that failed leaves it so
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert notices.told() != INTERRUPTED


def test_in_a_later_fit_a_signal_acts_as_ever():
    signals = Signals()
    signals.start(OURS)  # a training that failed leaves it so
    with pytest.raises(KeyboardInterrupt):
        fit(lambda: os.kill(os.getpid(), signal.SIGINT), OTHER)
    assert not signals.received
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_after_a_fit_that_failed_sigterm_acts_in_the_next_one(dense_model, points, tmp_path):
    came = []
    before = signal.signal(signal.SIGTERM, lambda *arguments: came.append(arguments))
    try:
        resume = keras_dawn.ResumeTraining(tmp_path)
        with pytest.raises(RuntimeError, match="cut off"):
            dense_model("sgd").fit(*points, epochs=1, verbose=0, callbacks=[Cut(1), resume])
        terminate = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: os.kill(os.getpid(), signal.SIGTERM)
        )
        dense_model("sgd").fit(*points, epochs=1, verbose=0, callbacks=[terminate])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came


@pytest.mark.parametrize(
    ("cloud", "reply"),
    [
        ("gcp", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nTR"),
        ("gcp", b"no HTTP\r\n\r\n"),
        ("azure", b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n["a",1]'),
    ],
)
def test_an_answer_of_another_kind_does_not_end_the_asking(cloud, reply, monkeypatch):
    asked, died = [], []

    class Odd(socketserver.BaseRequestHandler):
        def handle(self):
            asked.append(self.request.recv(4096))
            self.request.sendall(reply)

    monkeypatch.setattr(threading, "excepthook", died.append)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Odd) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{service.server_address[1]}"
        notice = EvictionNotice(cloud, every_seconds=0.02, url=url)
        notice.start()
        again = wait_for(lambda: len(asked) > 2 or died, seconds=10)
        notice.stop()
        service.shutdown()
        thread.join()
    assert again and not died and not notice.received


def test_the_exit_code_is_the_stated_one():
    assert Evicted().code == 75


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="aws, gcp, azure"):
        EvictionNotice("other")
    with pytest.raises(ValueError, match="`every_seconds`"):
        EvictionNotice("aws", every_seconds=0)
