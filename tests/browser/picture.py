"""Take the picture in the README: `python tests/browser/picture.py` with the page running on the default port."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860"


def main() -> None:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"),
                                              args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(viewport={"width": 1280, "height": 1640})
        page.goto(URL)
        page.wait_for_timeout(3000)
        page.locator(".examples label").nth(1).click()
        page.wait_for_timeout(1500)
        page.locator('button[role=tab]:visible:has-text("3 · Fix")').click()
        page.locator('button:visible:has-text("Try the fix")').click()
        page.get_by_text("Accepted: layer").locator("visible=true").first.wait_for(timeout=60_000)
        page.wait_for_timeout(2000)
        page.screenshot(path=Path(__file__).with_name("page.png"), full_page=False)
        chromium.close()


if __name__ == "__main__":
    main()
