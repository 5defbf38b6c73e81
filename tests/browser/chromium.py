"""A headless Chromium that a test drives by the DevTools protocol.

One process serves a whole run of the tests; each test has a tab of its own in a context of
its own, as if it were another person's browser.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from shutil import which
from typing import Any

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    connectWS,
)
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

#: Where Debian has it, and what others call it.
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
    "--hide-scrollbars",
    # No name is ever looked up: what a page loads comes from this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

Params = dict[str, Any]


def chromium() -> str | None:
    """The browser's command, if this machine has it."""
    return next(filter(None, map(which, _NAMES)), None)


class BrowserError(Exception):
    """The browser refused a command, or a script in a page failed."""


class _Process(ProcessProtocol):
    def __init__(self) -> None:
        self.address: Deferred[str] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self._said = ""

    def errReceived(self, data: bytes) -> None:
        self._said += data.decode("utf-8", "replace")
        _, found, rest = self._said.partition("DevTools listening on ")
        if found and "\n" in rest and not self.address.called:
            self.address.callback(rest.partition("\n")[0].strip())

    def processEnded(self, reason: Failure) -> None:
        if not self.address.called:
            self.address.errback(BrowserError(f"no browser: {self._said[-2000:]}"))
        self.gone.callback(None)


class _Line(WebSocketClientProtocol):  # type: ignore[misc]
    def onOpen(self) -> None:
        self.factory.browser.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803
        self.factory.browser.told(json.loads(payload))


class Browser:
    """The process and the line to it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="headrace-browser-"))
        self._process = _Process()
        self._line: Any = None
        self._open: Deferred[None] = Deferred()
        self._waiting: dict[int, Deferred[Params]] = {}
        self._number = 0
        self._tabs: dict[str, Tab] = {}
        self._transport: Any = None

    async def start(self, command: str) -> None:
        """Return once it takes commands."""
        # Root has no user namespace of its own to lock pages up in.
        flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        arguments = [command, *flags, f"--user-data-dir={self._folder}", "about:blank"]
        self._transport = reactor.spawnProcess(
            self._process,
            command,
            arguments,
            env={**os.environ, "HOME": str(self._folder)},
            path=str(self._folder),
        )
        address = await self._process.address
        factory = WebSocketClientFactory(address)
        factory.protocol = _Line
        factory.browser = self
        factory.setProtocolOptions(maxFramePayloadSize=0, maxMessagePayloadSize=0)
        connectWS(factory)
        await self._open

    async def stop(self) -> None:
        """End it, and forget what it kept."""
        if self._line is not None:
            self._line.transport.abortConnection()
        if self._transport is not None and not self._process.gone.called:
            self._transport.signalProcess("TERM")
            await self._process.gone
        shutil.rmtree(self._folder, ignore_errors=True)

    def opened(self, line: Any) -> None:
        """The line stands."""
        self._line = line
        self._open.callback(None)

    async def send(self, method: str, session: str | None = None, **params: Any) -> Params:
        """One command; what it answers."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        waiting: Deferred[Params] = Deferred()
        self._waiting[self._number] = waiting
        self._line.sendMessage(json.dumps(message).encode())
        return await waiting

    def told(self, message: Params) -> None:
        """The browser said something."""
        if "id" in message:
            waiting = self._waiting.pop(message["id"], None)
            if waiting is None:
                return
            if "error" in message:
                waiting.errback(BrowserError(str(message["error"])))
            else:
                waiting.callback(message["result"])
        elif (tab := self._tabs.get(message.get("sessionId", ""))) is not None:
            tab.told(message["method"], message["params"])

    async def tab(self, width: int = 1280, height: int = 800) -> Tab:
        """A new tab in a context of its own."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = await self.send(
            "Target.createTarget", url="about:blank", browserContextId=context
        )
        attached = await self.send(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        tab = Tab(self, attached["sessionId"], context)
        self._tabs[tab.session] = tab
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility", "DOM"):
            await tab.send(f"{domain}.enable")
        # Keys go where the focus is, also in a tab that is not in front.
        await tab.send("Emulation.setFocusEmulationEnabled", enabled=True)
        await tab.size(width, height)
        return tab

    async def close(self, tab: Tab) -> None:
        """End a tab with all that it kept."""
        del self._tabs[tab.session]
        await self.send("Target.disposeBrowserContext", browserContextId=tab.context)


class Tab:
    """One page, and what happened in it."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self.browser = browser
        self.session = session
        self.context = context
        self.complaints: list[str] = []  #: errors on the console, uncaught ones, refusals
        self.requests: list[str] = []  #: addresses that were asked for
        self._received: dict[str, int] = {}  # bytes of each request, heads too

    async def send(self, method: str, **params: Any) -> Params:
        """One command for this tab."""
        return await self.browser.send(method, self.session, **params)

    def told(self, method: str, params: Params) -> None:
        """Something happened here."""
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:800])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.complaints.append(json.dumps(params["args"])[:800])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(_entry(params["entry"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.responseReceived":
            self._count(params["requestId"], params["response"]["encodedDataLength"])
        elif method == "Network.dataReceived":
            self._count(params["requestId"], params["encodedDataLength"])

    def _count(self, request: str, size: float) -> None:
        self._received[request] = self._received.get(request, 0) + int(size)

    @property
    def transferred(self) -> int:
        """Bytes that came over the line, also those of answers that still go on."""
        return sum(self._received.values())

    async def size(self, width: int, height: int) -> None:
        """As wide and as high as a certain screen."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def prefer(self, scheme: str, motion: str = "no-preference") -> None:
        """What the reader told their system: dark or light, and how much may move."""
        await self.send(
            "Emulation.setEmulatedMedia",
            features=[
                {"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": motion},
            ],
        )

    async def go(self, url: str) -> None:
        """Load an address."""
        await self.send("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        answer = await self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {json.dumps(answer['exceptionDetails'])[:800]}")
        return answer["result"].get("value")

    async def until(self, script: str, seconds: float = 20) -> Any:
        """The value of an expression as soon as it is true."""
        end = reactor.seconds() + seconds
        while True:
            value: Any = None
            try:
                value = await self.run(script)
            except BrowserError as error:
                # The page is just being replaced by another one.
                if reactor.seconds() > end:
                    raise BrowserError(f"never: {script}: {error}") from error
            if value:
                return value
            if reactor.seconds() > end:
                place = await self.run("location.href")
                text = await self.run("document.body.innerText.slice(0, 800)")
                raise BrowserError(
                    f"never: {script}; the page: {text}; {self.complaints}; at {place}"
                    f" never: {script}"  # CI shows the end of what it prints
                )
            await deferLater(reactor, 0.03)

    async def text(self, selector: str = "#view") -> str:
        """What can be read there."""
        found = await self.run(
            f"(document.querySelector({json.dumps(selector)}) || {{}}).innerText || ''"
        )
        return str(found)

    async def press(self, *keys: str, modifiers: int = 0) -> None:
        """Keys, one after the other."""
        for key in keys:
            named = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowDown": 40, "ArrowUp": 38}
            named |= {"ArrowLeft": 37, "ArrowRight": 39, "End": 35, "Home": 36}
            text = "\r" if key == "Enter" else key if len(key) == 1 else ""
            shared = {"key": key, "modifiers": modifiers}
            if key in named:
                shared |= {"windowsVirtualKeyCode": named[key], "code": key}
            down = {"type": "keyDown", **shared, **({"text": text} if text else {})}
            await self.send("Input.dispatchKeyEvent", **down)
            await self.send("Input.dispatchKeyEvent", type="keyUp", **shared)

    async def type(self, text: str) -> None:
        """Text into what has the focus."""
        await self.send("Input.insertText", text=text)

    async def click(self, selector: str) -> None:
        """With the mouse, in the middle of what is there."""
        place = await self.until(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " if (!e) return null; e.scrollIntoView({block: 'center'});"
            " const b = e.getBoundingClientRect();"
            " return {x: b.x + b.width / 2, y: b.y + b.height / 2}; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send(
                "Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place
            )

    async def picture(self, file: Path) -> None:
        """A screenshot, for people."""
        import base64

        shot = await self.send("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(shot["data"]))


def _entry(entry: Params) -> str:
    return f"{entry['source']}: {entry['text']} {entry.get('url', '')}"


async def with_browser(work: Callable[[Browser], Awaitable[Any]]) -> Any:
    """Do ``work`` with a browser that ends afterwards."""
    command = chromium()
    if command is None:
        raise BrowserError("this machine lacks Chromium")
    browser = Browser()
    try:
        await browser.start(command)
        return await work(browser)
    finally:
        await browser.stop()
