"""An OpenAI-compatible endpoint in a process of its own: prints what it is asked, and answers.

Every line of its output is a JSON object: ``listening`` with the port, then ``asked`` with each
request. It says back its system prompt; run it with `python stub_model.py`.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tell("asked", path=self.path, key=self.headers["Authorization"], **body)
        system = next((m["content"] for m in body["messages"] if m["role"] == "system"), "Nothing.")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for word in system.split():
            self.event(json.dumps({"choices": [{"delta": {"content": f"{word} "}}]}))
        self.event("[DONE]")
        self.close_connection = True

    def event(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: what is asked is told on standard output."""


def tell(type: str, **fields: Any) -> None:
    print(json.dumps({"type": type, **fields}), flush=True)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    tell("listening", port=server.server_port)
    server.serve_forever()
