"""The page where people log in: plain HTML, without any script."""

from html import escape
from pathlib import Path

from starlette.responses import HTMLResponse

from gradloom_dashboard.gates import LOGIN, policy

STYLE = Path(__file__).with_name("style.css")
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Log in - gradloom</title>
<style nonce="{nonce}">{style}
body {{ margin: 0; font-family: Roboto, system-ui, sans-serif; }}
@media (prefers-color-scheme: dark) {{ body {{ {dark} }} }}
</style>
</head>
<body>
<main class="gl-login">
<form class="gl-card" method="post" action="{action}" data-testid="login">
<div class="gl-brand">gradloom</div>
<p class="gl-dim">The cluster at {address} wants to know who you are.</p>
<label for="token">Your token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus
 maxlength="512" spellcheck="false" data-testid="token">
<input type="hidden" name="next" value="{next}">
<p class="gl-refusal" role="alert" data-testid="login-refusal"{hidden}>{refusal}</p>
<button class="gl-enter" type="submit" data-testid="enter">Log in</button>
<p class="gl-dim gl-small">An administrator makes one: gradloom token create NAME --role viewer. What you change carries
 that name. This page keeps it for twelve hours, in the memory of the server and nowhere else.</p>
</form>
</main>
</body>
</html>
"""


def login_page(address: str, wanted: str, nonce: str, refusal: str = "", status: int = 200) -> HTMLResponse:
    """The page; ``wanted`` is where somebody goes afterwards, ``refusal`` why the last try failed."""
    style = STYLE.read_text(encoding="utf-8")
    dark = style.partition("body.body--dark {")[2].partition("}")[0].strip()
    text = PAGE.format(
        nonce=nonce,
        style=style,
        dark=f"{dark} background: var(--page); color: var(--ink);",
        action=LOGIN,
        address=escape(address),
        next=escape(wanted),
        refusal=escape(refusal),
        hidden="" if refusal else " hidden",
    )
    headers = {"Content-Security-Policy": policy(nonce, scripts=False), "Cache-Control": "no-store"}
    return HTMLResponse(text, status, headers=headers)
