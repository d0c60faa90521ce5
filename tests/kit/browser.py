"""Chromium for stories in the console: a served console, a browser, its pictures, and a search for barriers.

A story is read as a person sees it: it opens pages, fills fields by their labels, presses buttons by their
words. `check_page` fails when axe-core finds a barrier, when something is wider than the window, or when
the browser reports an error (a script, an image or a style that the policy of the page forbids).
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait
from werkzeug.serving import make_server

from tests.kit.console import PASSWORD, Console
from tests.kit.ports import find_free_port

__all__ = ["DESK", "NARROW", "WIDE", "ConsoleBrowser", "serve_pages", "start_browser"]

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
#: Widths of the window in pixels: a telephone, a desk, and a large screen.
NARROW, DESK, WIDE = 360, 1280, 1920
#: Where the pictures go that the manual shows, when this is set in the environment.
PICTURES = "GATEWAY_PICTURES"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SEARCH = """
const done = arguments[arguments.length - 1];
axe.run(document, {runOnly: {type: 'tag', values: arguments[0]}}).then(
  found => done(found.violations.map(
    one => one.id + ': ' + one.help + ' ' + one.nodes.map(at => at.html).join(' '))),
  failed => done(['axe: ' + failed]));
"""


@contextmanager
def serve_pages(console: Console, port: int = 0) -> Iterator[str]:
    """Serve a console on a port of its own, or on `port`; yield its URL."""
    server = make_server("127.0.0.1", port, console.application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        # Browsers trust this name without TLS, so that the cookie of the session is kept.
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()


@contextmanager
def start_browser(profile: Path, url: str, *, scripts: bool = True) -> Iterator[ConsoleBrowser]:
    """Start Chromium for the console at `url`; without scripts when asked."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    sandbox = (
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--lang=en",
        "--force-prefers-reduced-motion",
    )
    for argument in ("--headless=new", *sandbox, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})  # type: ignore[no-untyped-call]
    preferences: dict[str, Any] = {
        "download.default_directory": str(profile / "downloads"),
        "intl.accept_languages": "en",
    }
    if not scripts:
        preferences["profile.managed_default_content_settings.javascript"] = 2
    options.add_experimental_option("prefs", preferences)
    driver = webdriver.Chrome(
        options=options, service=Service(shutil.which("chromedriver"), port=find_free_port())
    )
    try:
        browser = ConsoleBrowser(driver, url, profile / "downloads", scripts)
        browser.resize(DESK)
        yield browser
    finally:
        driver.quit()


@dataclass
class ConsoleBrowser:
    """A person's browser: what a person reads and presses, by words."""

    driver: webdriver.Chrome
    url: str
    downloads: Path
    scripts: bool = True

    def open(self, path: str) -> None:
        """Open a page of the console by its path."""
        self.driver.get(self.url + path)

    @property
    def path(self) -> str:
        return self.driver.current_url.removeprefix(self.url)

    @property
    def text(self) -> str:
        """The words of the page as a person sees them."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def list_all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def find_field(self, label: str) -> WebElement:
        """Return the field with this label."""
        path = f"//label[normalize-space()={_quote(label)}]"
        # A browser without scripts on a busy machine may still be at the page before.
        with suppress(TimeoutException):
            WebDriverWait(self.driver, 20).until(lambda driver: driver.find_elements(By.XPATH, path))
        labels = self.driver.find_elements(By.XPATH, path)
        assert len(labels) == 1, f"{len(labels)} fields {label!r} on {self.path}:\n{self.text}"
        (named,) = labels
        inside = named.find_elements(By.CSS_SELECTOR, "input, select, textarea")
        return inside[0] if inside else self.driver.find_element(By.ID, named.get_attribute("for") or "")

    def fill(self, label: str, value: str) -> None:
        """Type a value into a field, or choose it in a list, by the label of the field."""
        field = self.find_field(label)
        if field.tag_name == "select":
            Select(field).select_by_visible_text(value)
            return
        if field.get_attribute("type") not in {"file", "date", "datetime-local"}:
            field.clear()
        field.send_keys(value)

    def press(self, words: str) -> None:
        """Press the button, or follow the link, with these words, and wait for the next page."""
        said = _quote(words)
        path = f"//main//*[self::button or self::a][normalize-space()={said}]"
        found = self.driver.find_elements(By.XPATH, path) or self.driver.find_elements(
            By.XPATH, f"//*[self::button or self::a][normalize-space()={said}]"
        )
        assert found, f"no button or link {words!r} on {self.path}:\n{self.text}"
        page = self.find("html")
        self.driver.execute_script(
            "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", found[0]
        )
        found[0].click()
        WebDriverWait(self.driver, 60).until(lambda _: _is_gone(page), f"no page after {words!r}")

    def sign_in(self, name: str, password: str = PASSWORD) -> None:
        """Sign in with a password, as the first page asks for it."""
        self.open("/console/sign-in")
        self.fill("Name", name)
        self.fill("Password", password)
        self.press("Sign in")

    def wait_for(self, words: str, seconds: float = 60) -> None:
        """Wait until these words are on the page."""
        WebDriverWait(self.driver, seconds).until(lambda _: words in self.text, f"not on the page: {words}")

    def check_page(self) -> None:
        """Fail when this page has a barrier, is wider than the window, or reports an error."""
        if self.scripts:
            self.driver.execute_script(AXE)
            found = self.driver.execute_async_script(SEARCH, RULES)
            assert not found, f"{self.path}: {found}"
        wide = self.driver.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, f"{self.path} is {wide} px wider than the window"
        told = [one["message"] for one in self.driver.get_log("browser") if one["level"] == "SEVERE"]
        # A page that answers 401 or 404 is a page too.
        assert not [one for one in told if "server responded with a status of 4" not in one], told

    def take_picture(self, name: str, folder: Path, widths: tuple[int, ...] = (NARROW, DESK)) -> None:
        """Check the page at each width, and store its picture as `NAME-WIDTH.png`.

        The pictures go into `folder`; with GATEWAY_PICTURES set, into that folder.
        """
        place = Path(os.environ.get(PICTURES) or folder)
        place.mkdir(parents=True, exist_ok=True)
        for width in widths:
            self.resize(width)
            self.check_page()
            height = self.driver.execute_script("return document.documentElement.scrollHeight")
            self.resize(width, min(max(height, 640), 4000))
            self.driver.save_screenshot(str(place / f"{name}-{width}.png"))
        self.resize(DESK)

    def resize(self, width: int, height: int = 900) -> None:
        """Give the page exactly this width, as a telephone of that width has it."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def _is_gone(element: WebElement) -> bool:
    try:
        _ = element.tag_name
    except WebDriverException:
        return True
    return False


def _quote(words: str) -> str:
    """Return words as a string of XPath 1.0."""
    if '"' not in words:
        return f'"{words}"'
    return "concat(" + ", '\"', ".join(f'"{part}"' for part in words.split('"')) + ")"
