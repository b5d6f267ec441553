"""Stands in for the API in tests of the dev stack: /health/ready and nothing else."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()


HTTPServer((os.environ["TOLEM_API_HOST"], int(os.environ["TOLEM_API_PORT"])), Handler).serve_forever()
