"""A real ComfyUI server with this pack installed, for tests: started, driven, always killed.

COMFYUI_PATH names the checkout (default ~/ComfyUI), COMFYUI_PYTHON its interpreter (default: ours).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PACK = "custom_nodes/latent-map"
FOLDERS = ("custom_nodes", "models/checkpoints", "input", "output", "temp", "user")
PREVIEW_EVENT = 1  # BinaryEventTypes.PREVIEW_IMAGE: two 4-byte headers, then a JPEG or PNG

Event = Callable[[str, Any], None]


class ComfyError(RuntimeError):
    """The server did not start, refused a prompt, or a node failed; `detail` is its own answer."""

    def __init__(self, message: str, detail: Any = None):
        super().__init__(message)
        self.detail = detail


class Interrupted(ComfyError): ...


@dataclass(frozen=True)
class ComfyServer:
    """A running server. `base` holds its input, output, temp, user and models folders."""

    url: str
    base: Path
    log: Path
    process: subprocess.Popen

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def request(self, route: str, body: Any = None, kind: str = "application/json") -> Any:
        """GET `route`, or POST `body` (JSON unless bytes); the decoded JSON, None if empty."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + route, data, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read() or "null")
        except urllib.error.HTTPError as error:
            answer = error.read().decode(errors="replace")
            detail = json.loads(answer) if answer.startswith("{") else answer
            message = f"{route}: {error}: {answer}; end of the log:\n{self.log_tail()}"
            raise ComfyError(message, detail) from error
        except OSError as error:
            raise ComfyError(f"{route}: {error}; end of the log:\n{self.log_tail()}") from error

    def object_info(self) -> dict[str, Any]:
        return self.request("/object_info")

    def interrupt(self) -> None:
        self.request("/interrupt", {})

    def submit(self, prompt: Mapping[str, Any], client_id: str = "test") -> str:
        """Queue a prompt in API format; its id. A refusal raises, with the node errors."""
        return self.request("/prompt", {"prompt": prompt, "client_id": client_id})["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 600) -> dict[str, Any]:
        """The outputs by node id once the prompt is done, e.g. {"2": {"images": [...]}}."""
        end = time.monotonic() + timeout
        while not (entry := self.request(f"/history/{prompt_id}").get(prompt_id)):
            if time.monotonic() > end:
                raise ComfyError(f"no result in {timeout} s; end of the log:\n{self.log_tail()}")
            time.sleep(0.1)
        messages = dict(entry["status"]["messages"])
        if detail := messages.get("execution_interrupted"):
            raise Interrupted(f"interrupted in {detail['node_type']}", detail)
        if detail := messages.get("execution_error"):
            error = f"{detail['exception_message']}\n{''.join(detail['traceback'])}"
            raise ComfyError(f"{detail['node_type']} (node {detail['node_id']}): {error}", detail)
        return entry["outputs"]

    def run_prompt(
        self, prompt: Mapping[str, Any], on_event: Event | None = None, timeout: float = 600
    ) -> dict[str, Any]:
        """Submit and wait. `on_event` (needs websocket-client) is called as (type, data) for every
        message of this prompt and as ("preview", image bytes); it may call interrupt()."""
        if on_event is None:
            return self.wait(self.submit(prompt), timeout)
        import websocket

        client = uuid.uuid4().hex
        address = self.url.replace("http", "ws", 1) + f"/ws?clientId={client}"
        with closing(websocket.create_connection(address, timeout=timeout)) as connection:
            prompt_id = self.submit(prompt, client)
            _follow(connection, prompt_id, on_event)
        return self.wait(prompt_id, timeout)

    def upload_image(self, path: str | Path) -> str:
        """Put an image into the input folder; the name that LoadImage takes."""
        path, edge = Path(path), uuid.uuid4().hex
        head = f'Content-Disposition: form-data; name="image"; filename="{path.name}"'
        start, stop = f"--{edge}\r\n{head}\r\n\r\n", f"\r\n--{edge}--\r\n"
        body = start.encode() + path.read_bytes() + stop.encode()
        return self.request("/upload/image", body, f"multipart/form-data; boundary={edge}")["name"]

    def file(self, reference: Mapping[str, str]) -> Path:
        """The file behind an output's {"filename", "subfolder", "type"}."""
        return self.base / reference["type"] / reference["subfolder"] / reference["filename"]


@contextmanager
def comfy_server(
    links: Mapping[str, Path] | None = None,
    pack: bool = True,
    timeout: float = 300,
    arguments: Sequence[str] = ("--cpu",),
) -> Iterator[ComfyServer]:
    """Start ComfyUI in a folder of its own, yield it when it answers, kill it.

    Args:
        links: path under the base folder -> file or folder it links to, made before the start,
            e.g. {"models/checkpoints/tiny.safetensors": path, "custom_nodes/tiny": path}.
        pack: install this repository as a custom node; a failed import then raises.
        timeout: seconds until it answers.
        arguments: of ComfyUI; by default it works on the CPU.
    Raises: ComfyError, with the end of the log, if the server or the pack does not load.
    """
    links = {**({PACK: REPOSITORY} if pack else {}), **(links or {})}
    with tempfile.TemporaryDirectory(prefix="comfyui-", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        for path in [base / name for name in FOLDERS] + [(base / name).parent for name in links]:
            path.mkdir(parents=True, exist_ok=True)
        for name, target in links.items():
            (base / name).symlink_to(target.resolve())
        server = _start(base, arguments)
        try:
            _wait_until_ready(server, timeout)
            yield server
        finally:
            _kill(server.process)


def _start(base: Path, arguments: Sequence[str]) -> ComfyServer:
    root = Path(os.environ.get("COMFYUI_PATH", "~/ComfyUI")).expanduser()
    if not (root / "main.py").is_file():
        raise ComfyError(f"no ComfyUI in {root}: set COMFYUI_PATH to a checkout of it")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [os.environ.get("COMFYUI_PYTHON", sys.executable), "main.py", *arguments]
    command += ["--listen", "127.0.0.1", "--port", str(port), "--disable-api-nodes"]
    command += ["--base-directory", str(base), "--database-url", f"sqlite:///{base}/comfyui.db"]
    env = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **os.environ}  # shared machine
    with (base / "comfyui.log").open("wb") as log:
        options = {"stdout": log, "stderr": log, "start_new_session": True}
        process = subprocess.Popen(command, cwd=root, env=env, **options)
    return ComfyServer(f"http://127.0.0.1:{port}", base, Path(log.name), process)


def _wait_until_ready(server: ComfyServer, timeout: float) -> None:
    end = time.monotonic() + timeout
    while True:
        try:
            server.object_info()
            break
        except ComfyError as error:  # its detail is None until the server answers at all
            code = server.process.poll()
            if error.detail or code is not None or time.monotonic() > end:
                raise ComfyError(f"no start in {timeout} s (exit code {code}): {error}") from error
        time.sleep(0.3)
    log = server.log.read_text(errors="replace")
    if any(PACK in line and "IMPORT FAILED" in line for line in log.splitlines()):
        raise ComfyError(f"ComfyUI could not import the pack:\n{log}")


def _follow(connection: Any, prompt_id: str, on_event: Event) -> None:
    kind = ""
    while kind not in ("execution_success", "execution_error", "execution_interrupted"):
        if isinstance(frame := connection.recv(), str):
            message = json.loads(frame)
            if message["data"].get("prompt_id") == prompt_id:
                kind = message["type"]
                on_event(kind, message["data"])
        elif int.from_bytes(frame[:4], "big") == PREVIEW_EVENT:
            on_event("preview", frame[8:])


def _kill(process: subprocess.Popen) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):  # the second also for children left behind
        try:
            os.killpg(process.pid, number)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
