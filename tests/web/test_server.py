"""The page as a server: what clients send over the network, and what a stranger may try."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from PIL import Image

from renoise import ConfigError
from renoise.web.examples import bundled
from renoise.web.limits import Limits
from renoise.web.server import Address, serving
from renoise.web.studio import Loaded, Studio
from web.conftest import loaded_editor

pytestmark = [pytest.mark.web, pytest.mark.slow]

gradio = pytest.importorskip("gradio", reason="the page is not installed: pip install 'renoise[web]'")
client_module = pytest.importorskip("gradio_client", reason="the page is not installed: pip install 'renoise[web]'")

GUIDE = Path(__file__).parents[2] / "docs" / "web.md"
REFUSALS = (
    "must be uploaded",
    "has an address in place of an upload",
    "There is no image",
)
ARGUMENTS = 13  # of /edit
PROMPT, TARGET = "a red square", "a blue square"
LIMITS = Limits(upload_bytes=2_000_000, pixels=1_000_000, queue=2, prompt_length=200, targets=3)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Studio, str]]:
    studio = Studio(loaded_editor(), LIMITS, Loaded("mini-turbo"))
    with serving(studio, Address(port=0)) as url:
        yield studio, url


@pytest.fixture
def url(shared: tuple[Studio, str]) -> str:
    return shared[1]


@pytest.fixture
def server(shared: tuple[Studio, str]) -> Studio:
    return shared[0]


@pytest.fixture
def connect(url: str, tmp_path: Path) -> Callable[[], Any]:
    def make() -> Any:
        return client_module.Client(url, verbose=False, download_files=str(tmp_path / "downloads"))

    return make


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def upload(path: Path) -> Any:
    return client_module.handle_file(str(path))


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def send_file(url: str, data: bytes) -> str:
    """Upload a file as a browser does, without first looking how large it may be."""
    head = '--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body = head.encode() + data + b"\r\n--x--\r\n"
    asked = Request(f"{url}gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"})
    with urlopen(asked, timeout=60) as answer:
        return str(answer.read().decode())


def post(url: str, data: list[Any], endpoint: str = "edit") -> str:
    """Call an endpoint as any program can, without a client's manners, and return the last event with its data.

    What is left out of the data is null.
    """
    body = json.dumps({"data": [*data, *[None] * (ARGUMENTS - len(data))]}).encode()
    asked = Request(f"{url}gradio_api/call/{endpoint}", body, {"Content-Type": "application/json"})
    with urlopen(asked, timeout=60) as answer:
        event = json.load(answer)["event_id"]
    with urlopen(f"{url}gradio_api/call/{endpoint}/{event}", timeout=60) as answer:
        lines = answer.read().decode().strip().splitlines()
    return "\n".join(lines[-2:])


def test_the_endpoints_document_their_types(connect: Callable[[], Any]) -> None:
    told = connect().view_api(return_format="dict")["named_endpoints"]
    assert set(told) == {"/invert", "/edit", "/reconstruct"}
    arguments = {one["parameter_name"]: one["python_type"]["type"] for one in told["/edit"]["parameters"]}
    assert arguments["source"] == "filepath"
    assert arguments["targets"] == "list[str]"
    assert "float" in arguments["strength"]
    assert "Literal['auto', 'nothing']" in arguments["keep"]
    assert [one["python_type"]["type"] for one in told["/invert"]["returns"]][:2] == ["filepath", "filepath"]


def test_invert_edit_and_reconstruct(connect: Callable[[], Any], png_file: Path, server: Studio) -> None:
    client = connect()
    inversion, reconstruction, report = client.predict(upload(png_file), PROMPT, seed=11, api_name="/invert")
    assert (report["inversion_passes"], report["inverted_before"], report["passes"]) == (4, False, 4)
    assert report["psnr"]["image"] > 15
    assert Image.open(reconstruction).size == (128, 128)
    (direct,), report = client.predict(upload(png_file), [TARGET], PROMPT, seed=11, api_name="/edit")
    assert (report["inversion_passes"], report["inverted_before"], report["passes"]) == (0, True, 4)
    (again,), _ = client.predict(upload(Path(inversion)), [TARGET], api_name="/edit")
    assert Image.open(again).tobytes() == Image.open(direct).tobytes()
    same, report = client.predict(upload(Path(inversion)), api_name="/reconstruct")
    assert digest(same) == digest(reconstruction)
    assert report["passes"] == 0


def test_the_same_seed_gives_equal_bytes_and_another_one_does_not(
    connect: Callable[[], Any], png_file: Path, server: Studio
) -> None:
    client = connect()
    files = []
    for seed in (5, 5, 6):
        server.inversions.__init__(LIMITS.cache_bytes)  # type: ignore[misc] # nothing is known before
        (path,), report = client.predict(upload(png_file), [TARGET], PROMPT, seed=seed, api_name="/edit")
        assert not report["inverted_before"]
        files.append(digest(path))
    assert files[0] == files[1] != files[2]


@pytest.mark.skipif(not GUIDE.exists(), reason="the sources' documents are not beside the tests")
def test_the_code_of_the_guide_runs(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (128, 128), "orange").save("cat.png")
    (code,) = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("http://127.0.0.1:7860", url), names)
    assert len(names["edits"]) == 2
    assert Path(names["inversion"]).suffix == ".safetensors"
    assert names["report"]["inverted_before"]


def test_a_port_that_is_taken_is_named(shared: tuple[Studio, str]) -> None:
    studio, url = shared
    taken = int(url.rstrip("/").rpartition(":")[2])
    with (
        pytest.raises(ConfigError, match=rf"cannot be served at 127.0.0.1:{taken} \(Address already in use\); give"),
        serving(studio, Address(port=taken)),
    ):
        pass


@pytest.mark.parametrize("host", ["", "no.such.host.invalid", "198.51.100.1", "a" * 300, "a..b", "::zz"])
def test_an_address_of_no_network_of_this_machine_is_named(server: Studio, host: str) -> None:
    place = f"[{host}]" if ":" in host else host
    with (
        pytest.raises(ConfigError, match=f"cannot be served at {re.escape(place)}:0 ") as caught,
        serving(server, Address(host, port=0)),
    ):
        pass
    assert "GRADIO" not in str(caught.value)


def test_a_page_that_cannot_be_shared_is_not_served(
    server: Studio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**where: Any) -> str:
        raise OSError("no tunnel")

    monkeypatch.setattr("gradio.networking.setup_tunnel", fail)
    with (
        pytest.raises(ConfigError, match="the page cannot be shared; serve it on this machine alone, or see what"),
        serving(server, Address(port=0, share=True)),
    ):
        pass
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
def test_the_page_listens_on_ipv6_as_well(server: Studio) -> None:
    with serving(server, Address("::1", port=0)) as served, urlopen(served, timeout=30) as answer:
        assert served.startswith("http://[::1]:")
        assert answer.status == 200


def test_two_clients_at_once_get_their_own(connect: Callable[[], Any], tmp_path: Path) -> None:
    colours, found = ("red", "green"), {}

    def work(colour: str) -> None:
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (128, 128), colour).save(path)
        answer = connect().predict(upload(path), [TARGET, "a dog"], f"a {colour} square", api_name="/edit")
        found[colour] = (path, answer)

    threads = [threading.Thread(target=work, args=(colour,)) for colour in colours]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for colour in colours:
        path, (files, report) = found[colour]
        assert [one["passes"] for one in report["edits"]] == [4, 4]
        alone, _ = connect().predict(upload(path), [TARGET, "a dog"], f"a {colour} square", api_name="/edit")
        assert [digest(file) for file in files] == [digest(file) for file in alone]
    assert digest(found["red"][1][0][0]) != digest(found["green"][1][0][0])


def test_a_full_queue_says_so(connect: Callable[[], Any], png_file: Path, server: Studio) -> None:
    held = threading.Event()

    def hold(tell: Any) -> None:
        held.wait(60)

    from renoise.web.worker import Job

    jobs = [Job(hold, server._turns) for _ in range(1 + LIMITS.queue)]
    try:
        with pytest.raises(Exception, match="The queue is full: one request is worked on and 2 wait"):
            connect().predict(upload(png_file), [TARGET], PROMPT, api_name="/edit")
    finally:
        held.set()
        for job in jobs:
            list(job.happenings())
    _, report = connect().predict(upload(png_file), [TARGET], PROMPT, api_name="/edit")
    assert not report["stopped"]


def test_a_client_that_cancels_frees_the_model(connect: Callable[[], Any], png_file: Path, server: Studio) -> None:
    client = connect()
    job = client.submit(upload(png_file), [TARGET] * 3, "a long one", preset="paper", steps=150, api_name="/edit")
    for _ in range(600):
        if job.outputs():
            break
        time.sleep(0.05)
    assert job.outputs()
    job.cancel()
    began = time.monotonic()
    _, report = connect().predict(upload(png_file), [TARGET], PROMPT, api_name="/edit")
    assert not report["stopped"]
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"targets": []}, "There is no target prompt"),
        ({"targets": ["x"] * 4}, "There are 4 target prompts, at most 3"),
        ({"targets": ["x" * 201]}, "The target prompts must have at most 200 characters, not 201"),
        ({"strength": 2}, "The strength of the edit must be in"),
        ({"preset": "best"}, "The preset 'best' is unknown"),
        ({"steps": 10**9}, "The number of steps must be a whole number of at most 200"),
        ({"fit": "keep", "seed": -1}, "The seed must be a whole number of at least 0"),
    ],
)
def test_errors_are_the_librarys_sentences(
    connect: Callable[[], Any], png_file: Path, values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(Exception, match=problem) as caught:
        connect().predict(**{"source": upload(png_file), "targets": [TARGET], **values}, api_name="/edit")
    assert "Traceback" not in str(caught.value)


def test_a_broken_file_and_a_bomb_are_refused_by_name(connect: Callable[[], Any], tmp_path: Path) -> None:
    broken, bomb, fake = tmp_path / "broken.png", tmp_path / "bomb.png", tmp_path / "fake.safetensors"
    broken.write_bytes(b"no image")
    Image.new("1", (30_000, 30_000)).save(bomb)
    assert bomb.stat().st_size < LIMITS.upload_bytes
    fake.write_bytes(b"\xff" * 64)
    problems = {broken: "broken.png is not an image", bomb: "bomb.png is too large", fake: "fake.safetensors is not"}
    for path, problem in problems.items():
        with pytest.raises(Exception, match=problem):
            connect().predict(upload(path), [TARGET], PROMPT, api_name="/edit")


def test_an_upload_that_is_too_large_is_refused(url: str) -> None:
    for size in (LIMITS.upload_bytes + 1, 2 * LIMITS.upload_bytes):
        with pytest.raises(HTTPError) as caught:
            send_file(url, bytes(size))
        assert caught.value.code == 413
    assert "png" in send_file(url, bytes(1000))


def test_no_body_is_larger_than_an_upload(url: str) -> None:
    asked = Request(f"{url}gradio_api/call/edit", bytes(4_000_000), {"Content-Type": "application/json"})
    with pytest.raises(Exception, match=r"413|reset|Broken pipe"):
        urlopen(asked, timeout=30)


@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {}])
@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "../../etc/passwd", "{own}"])
def test_a_path_in_a_request_is_never_opened(url: str, tmp_path: Path, path: str, meta: dict[str, Any]) -> None:
    own = tmp_path / "own.png"
    Image.new("RGB", (16, 16)).save(own)
    told = post(url, [{"path": path.replace("{own}", str(own)), **meta}, [TARGET]])
    assert told.startswith("event: error")
    assert any(refusal in told for refusal in REFUSALS)
    assert "root:" not in told


@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {}])
@pytest.mark.parametrize("field", ["path", "url"])
def test_an_address_in_a_request_is_never_fetched(
    url: str, monkeypatch: pytest.MonkeyPatch, field: str, meta: dict[str, Any]
) -> None:
    fetched: list[str] = []

    async def fetch(address: str, *args: Any, **options: Any) -> str:
        fetched.append(address)
        raise OSError("this must not be reached")

    monkeypatch.setattr("gradio.processing_utils.async_ssrf_protected_download", fetch)
    monkeypatch.setattr("gradio.processing_utils.ssrf_protected_download", fetch)
    for address in ("http://example.org/a.png", "https://127.0.0.1/a.png"):
        file = {"path": address, **meta} if field == "path" else {"path": "/tmp/a.png", "url": address, **meta}
        for data in ([file, [TARGET]], [None, [TARGET], file], [None, [file]]):
            told = post(url, data)
            assert told.startswith("event: error")
            assert any(refusal in told for refusal in REFUSALS)
            assert "Traceback" not in told
    assert fetched == []


def test_errors_on_the_page_are_text_and_no_html(url: str, png_file: Path) -> None:
    """Its browser side shows an error as HTML, in which a name out of a stranger's file could load an address."""
    hostile = "<img src=http://example.org/a.png>"
    with urlopen(f"{url}config", timeout=30) as answer:
        functions = json.load(answer)["dependencies"]
    (place,) = (one["id"] for one in functions if one["api_name"] == "choose_preset")
    body = json.dumps({"data": [hostile, "auto"], "fn_index": place}).encode()
    with pytest.raises(HTTPError) as caught:
        urlopen(Request(f"{url}gradio_api/run/predict", body, {"Content-Type": "application/json"}), timeout=30)
    told = json.load(caught.value)["error"]
    assert told.startswith("Preset '&lt;img src=http://example.org/a.png&gt;' is unknown; ")
    # Programs are told what they gave.
    (stored,) = json.loads(send_file(url, png_file.read_bytes()))
    file = {"path": stored, "meta": {"_type": "gradio.FileData"}}
    assert f"The preset '{hostile}' is unknown" in post(url, [file, [TARGET], PROMPT, None, None, None, hostile])


@pytest.mark.parametrize(
    "file",
    [
        {"path": ""},
        {"path": "a\0b"},
        {"path": "x" * 10_000},
        {"path": "\ud800"},
        {"path": "/etc/passwd", "orig_name": 5},
        {"path": "/etc/passwd", "meta": 5},
        {"path": 5},
        {"url": "file:///etc/passwd"},
    ],
)
def test_a_file_of_a_wrong_form_is_refused_in_a_sentence(url: str, file: dict[str, Any]) -> None:
    (stored,) = json.loads(send_file(url, b"\x89PNG"))
    meta = {"_type": "gradio.FileData"}
    good = {"path": stored, "meta": meta}
    for data in ([{"meta": meta, **file}, [TARGET]], [good, [TARGET], PROMPT, None, None, {"meta": meta, **file}]):
        told = post(url, data)
        assert told.startswith("event: error")
        assert "must be uploaded" in told or "has a wrong form" in told or "is not an image" in told
        assert "pydantic" not in told
        assert str(Path.cwd()) not in told


def test_a_request_with_too_few_or_too_many_values_is_refused_in_a_sentence(url: str) -> None:
    body = json.dumps({"data": []}).encode()
    with urlopen(
        Request(f"{url}gradio_api/call/edit", body, {"Content-Type": "application/json"}), timeout=60
    ) as answer:
        event = json.load(answer)["event_id"]
    with urlopen(f"{url}gradio_api/call/edit/{event}", timeout=60) as answer:
        assert "The request has 0 values, not 13" in answer.read().decode()
    assert "The request has 20 values, not 13" in post(url, [None] * 20)


def test_an_upload_may_be_named_by_its_address(url: str, png_file: Path) -> None:
    (stored,) = json.loads(send_file(url, png_file.read_bytes()))
    for host in (url, "http://elsewhere.example/"):
        file = {"path": f"{host}gradio_api/file={stored}", "meta": {"_type": "gradio.FileData"}}
        assert post(url, [file, [TARGET], PROMPT]).startswith("event: complete")
    outside = {"path": f"{url}gradio_api/file=/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    assert post(url, [outside, [TARGET], PROMPT]).startswith("event: error")


def test_files_of_the_machine_are_not_served(url: str, png_file: Path) -> None:
    examples = [example.path for example in bundled()]
    beside = examples[0].parent / "captions.jsonl"
    assert beside.exists()
    for path in ("/etc/passwd", str(png_file), str(Path(__file__)), str(beside), str(beside.parent)):
        with pytest.raises(Exception, match=r"40[34]"):
            urlopen(f"{url}gradio_api/file={path}", timeout=30)
    for example in examples:
        with urlopen(f"{url}gradio_api/file={example}", timeout=30) as answer:
            assert answer.read() == example.read_bytes()


def test_the_page_itself_asks_for_nothing_elsewhere(url: str) -> None:
    with urlopen(url, timeout=30) as answer:
        page = answer.read().decode()
    for name in ("fonts.googleapis", "fonts.gstatic", "cdnjs", "huggingface.co/", "google-analytics"):
        assert f'src="https://{name}' not in page
        assert f'href="https://{name}' not in page


def test_memory_and_files_stay_bounded_over_fifty_edits(
    connect: Callable[[], Any], png_file: Path, server: Studio
) -> None:
    client = connect()

    def edit(seed: int) -> None:
        client.predict(upload(png_file), [TARGET], PROMPT, seed=seed, steps=1, api_name="/edit")

    for seed in range(5):
        edit(seed)
    gc.collect()
    before = _resident()
    for seed in range(50):
        edit(seed % 10)
    gc.collect()
    assert _resident() - before < 80 * 2**20
    assert server.inversions.nbytes <= LIMITS.cache_bytes


def test_a_name_and_a_password_are_asked_for(tmp_path: Path, png_file: Path) -> None:
    studio = Studio(loaded_editor(), LIMITS, Loaded("mini-turbo"))
    with serving(studio, Address(port=0, user=("anna", "secret"))) as guarded:
        with pytest.raises(Exception, match=r"401"):
            urlopen(f"{guarded}gradio_api/info", timeout=30)
        client = client_module.Client(guarded, auth=("anna", "secret"), verbose=False)
        _, report = client.predict(upload(png_file), [TARGET], PROMPT, api_name="/edit")
        assert report["passes"] == 8
        with pytest.raises(Exception, match=r"(?i)log ?in|auth|credentials|401"):
            client_module.Client(guarded, auth=("anna", "wrong"), verbose=False)


def test_files_are_deleted_on_a_schedule_and_examples_stay(png_file: Path) -> None:
    studio = Studio(loaded_editor(), Limits(file_seconds=3), Loaded("mini-turbo"))
    with serving(studio, Address(port=0)) as served:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        before = files_in(folder)
        client_module.Client(served, verbose=False).predict(upload(png_file), [TARGET], PROMPT, api_name="/edit")
        assert len(files_in(folder)) >= len(before) + 5
        for _ in range(200):
            if files_in(folder) == before:
                break
            time.sleep(0.1)
        assert files_in(folder) == before


def test_all_files_go_with_the_server(png_file: Path) -> None:
    studio = Studio(loaded_editor(), LIMITS, Loaded("mini-turbo"))
    with serving(studio, Address(port=0)) as served:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        client_module.Client(served, verbose=False).predict(upload(png_file), [TARGET], PROMPT, api_name="/edit")
        assert files_in(folder)
    assert not folder.exists()


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def _resident() -> int:
    """Return the memory of this process, in bytes."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096
