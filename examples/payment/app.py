"""A page that waits for a payment: the provider calls a webhook of this backend, which tells the page."""
import atexit, hashlib, hmac, json, os, re, subprocess, urllib.error, urllib.request, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = int(os.environ.get("PORT", 3000))
HERE = Path(__file__).resolve().parent
WEBHOOK_SECRET = os.environ.get("WEBHOOK_SECRET", "whsec_test").encode()

# The service, on free ports. In production it runs by itself, for all backends.
environment = {"TAGWAIT_PUBLIC_PORT": "0", "TAGWAIT_INTERNAL_PORT": "0", "TAGWAIT_LOG_LEVEL": "warn", **os.environ}
command = ["node", HERE.parents[1] / "dist/cli.js"]
service = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
atexit.register(service.terminate)
public_port, internal_url = re.search(r"public \S+:(\d+) internal (\S+)", service.stdout.readline()).groups()


def post(url, body, **headers):
    headers = {"Content-Type": "application/json", **headers}
    return urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10).status


sign = lambda body: hmac.new(WEBHOOK_SECRET, body, hashlib.sha256).hexdigest()


class Backend(BaseHTTPRequestHandler):
    def answer(self, status, body=b"", kind="text/html", **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/look.css":
            return self.answer(200, (HERE.parent / "look.css").read_bytes(), "text/css")
        if not self.path.startswith("/pay/"):
            return self.answer(302, Location=f"/pay/{uuid.uuid4()}")
        url = f"http://{self.headers['Host'].rsplit(':', 1)[0]}:{public_port}"
        self.answer(200, (HERE / "page.html").read_bytes().replace(b"{{service}}", url.encode()))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/bank":  # plays the provider, which may well call twice
            event = json.dumps({"id": f"evt-{uuid.uuid4()}", "payment": body.decode(), "state": "paid"}).encode()
            for _ in range(2):
                post(f"http://127.0.0.1:{PORT}/webhook", event, **{"X-Signature": sign(event)})
            return self.answer(204)
        if not hmac.compare_digest(self.headers.get("X-Signature", ""), sign(body)):
            return self.answer(401)
        event = json.loads(body)
        try:  # the event's id makes a repeat harmless: it stores nothing, and gets the first answer
            fields = {"key": f"payment-{event['payment']}", "value": event["state"], "id": event["id"], "final": True}
            self.answer(post(f"{internal_url}/status/set", json.dumps(fields).encode()))
        except urllib.error.URLError as error:  # not known to be stored: the provider calls again
            self.answer(getattr(error, "code", 503))

server = ThreadingHTTPServer(("", PORT), Backend)
print(f"Open http://localhost:{PORT}", flush=True)
server.serve_forever()
