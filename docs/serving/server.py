"""Reads digits over HTTP from an exported network, without PyTorch: python server.py net.onnx --port 8000"""

import argparse
import io
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnxruntime
from PIL import Image

WANTED = "Send a PNG of 28×28 pixels, white on black, or a JSON list of 784 whole numbers 0 to 255; at most 64 KiB."


class Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds for a request to arrive

    def do_POST(self) -> None:
        try:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length if 0 < length <= 65_536 else 0)
            if body.startswith(b"\x89PNG"):
                picture = Image.open(io.BytesIO(body), formats=["PNG"])
                body = picture.convert("L").tobytes() if picture.size == (28, 28) else b""  # others are not unpacked
            else:
                body = bytes([*json.loads(body)])
            images = np.frombuffer(body, np.uint8).reshape(1, 1, 28, 28)
        except Exception:  # a damaged picture can end in almost any of them
            status, answer = 400, {"error": WANTED}
        else:
            chances = network.run(["probabilities"], {"images": images})[0][0].tolist()
            best = max(chances)
            status, answer = 200, {"digit": chances.index(best), "confidence": best, "probabilities": chances}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer, ensure_ascii=False).encode())


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("network")
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=8000)
options = parser.parse_args()
network = onnxruntime.InferenceSession(options.network, providers=["CPUExecutionProvider"])
server = ThreadingHTTPServer((options.host, options.port), Handler)
print(f"http://{options.host}:{server.server_port}", flush=True)
server.serve_forever()
