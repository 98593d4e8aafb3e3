"""A model on another computer that misbehaves on purpose: answers to `POST /predict` as they are told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Scripted:
    """A server that answers what it is told when it is asked for predictions, in turn; the last answer again and again. `None` hangs up."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.facts: Any = (200, {"version": "far-1", "inputs": {"image_size": [128, 72]}}, {})  # of GET /model
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                scripted.requests.append((self.path, dict(self.headers.items()), body))
                answer = scripted.answers.pop(0) if len(scripted.answers) > 1 else scripted.answers[0]
                answer = answer(body) if callable(answer) else answer
                if answer is None:
                    return
                self.send(answer)

            def send(self, answer: Any) -> None:
                status, content, headers = answer or (404, b"", {})
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self.send({"/model": scripted.facts}.get(self.path))

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


def answered(videos: list[dict[str, Any]]) -> tuple[int, Any, dict[str, str]]:
    """What the API says of these videos; the longer the title, the likelier."""
    facts = {
        "mode": "draft",
        "base_rate": 0.1,
        "predicted_multiple": None,
        "predicted_velocity": 100.0,
        "velocity_low": 10.0,
        "velocity_high": 1000.0,
        "predicted_velocity_7d": None,
        "model_version": "far-1",
        "notes": [],
        "something": "that a later version adds",
    }
    return 200, [{**facts, "id": one["id"], "viral_score": len(one["title"]) / 1000} for one in videos], {}


def problem(status: int, name: str, detail: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
    return status, {"type": f"tag:miles,2026:problem/{name}", "status": status, "detail": detail}, headers
