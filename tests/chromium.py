"""A headless Chromium, told what to do through pipes by the DevTools protocol: no library is needed."""

import json
import os
import shutil
import subprocess
import tempfile
from base64 import b64decode
from contextlib import suppress
from pathlib import Path

PATH = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)


class Chromium:
    """One page of a browser, which ends with the block."""

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory()
        (command_out, command_in), (answer_out, answer_in) = os.pipe(), os.pipe()
        # Chromium reads from its descriptor 3 and writes to 4.
        script = f'exec "$0" "$@" 3<&{command_out} 4>&{answer_in}'
        self.process = subprocess.Popen(
            ["bash", "-c", script, PATH, *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"],
            pass_fds=(command_out, answer_in),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_out)
        os.close(answer_in)
        self.commands, self.answers = os.fdopen(command_in, "wb"), os.fdopen(answer_out, "rb")
        self.number, self.session, self.buffer = 0, None, b""
        self.events: list[dict] = []
        target = next(own for own in self.call("Target.getTargets")["targetInfos"] if own["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *error):
        self.session = None
        with suppress(AssertionError, OSError):  # it may be gone before it answers
            self.call("Browser.close")
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.commands.close()
        self.answers.close()
        self.profile.cleanup()

    def call(self, method: str, **params) -> dict:
        """Send a command and wait for its result; events on the way are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        self.commands.write(json.dumps(message).encode() + b"\0")
        self.commands.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, path: Path, *, width: int, dark: bool = False) -> None:
        """Load a file in a window of this width."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 700
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())
        self.events = [event for event in self.events if event.get("method") != "Page.loadEventFired"]

    def evaluate(self, expression: str):
        """The value of JavaScript in the page, if it has one."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self, path: Path, *, height: int = 900, top: int = 0) -> None:
        """Write what the page shows from `top` on."""
        width = self.evaluate("innerWidth")
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(b64decode(shot["data"]))

    def requested(self) -> list[str]:
        """The addresses that were asked for."""
        events = [own for own in self.events if own.get("method") == "Network.requestWillBeSent"]
        return [own["params"]["request"]["url"] for own in events]

    def complaints(self) -> list[dict]:
        """Errors and warnings of the console and of the browser's log."""
        said = {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}
        return [own for own in self.events if own.get("method") in said]

    def _receive(self) -> dict:
        while b"\0" not in self.buffer:
            read = os.read(self.answers.fileno(), 2**20)
            assert read, "Chromium ended"
            self.buffer += read
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)
