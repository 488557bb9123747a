"""Push to the Hub: the bundle as one commit in a repository of the visitor's, with the visitor's own token.

1. On a Space the token comes from the visitor's login (`hf_oauth`); elsewhere from a password box, which is emptied
   before anything else is done. It is handed to `push` and to nothing else.
2. The bundle is built first where it is not there yet.
3. The newest commit that this visitor has seen of a repository is remembered, so that a commit by somebody else is not
   passed over: see `Moved`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from html import escape

import gradio as gr

from auditor.errors import InvalidRequest, Stopped
from auditor.export import hub_words
from auditor.export.bundle import Bundle
from auditor.export.hub import Moved, Pushed, home, problem, push
from auditor.ui import words
from auditor.ui.desk import FILES, Desk, beside
from auditor.ui.meter import Meter
from auditor.ui.panels import Page, buttons

LATE = "Stopped while the commit was on its way, so it may be there. Look at the repository before you press again."
LOGIN = "Log in with the button first, so that this page may push in your name."


def on_space() -> bool:
    """Whether visitors can log in here: a Space whose front matter asks for OAuth."""
    return bool(os.environ.get("SPACE_ID") and os.environ.get("OAUTH_CLIENT_ID"))


def hub_panel(page: Page, building: Callable, news: gr.State) -> None:
    """Draw the form and tie its button; `news` takes what is to be noted in the log."""
    login = on_space()
    gr.Markdown("### Push to the Hugging Face Hub\nThe same folder as one commit in a repository of your own. It is "
                "made if there is none; until the commit is there, nothing of it can be seen.")
    with gr.Row():
        repo = gr.Textbox(label="Repository", placeholder="account/name", max_lines=1, max_length=200, min_width=260,
                          info="Your account's name, a slash, and a name for the model")
        token = gr.Textbox(label="Token", type="password", max_lines=1, max_length=200, min_width=260,
                           html_attributes=gr.InputHTMLAttributes(autocomplete="off"), visible=not login,
                           info="One that may write. It is used for this one push and is not kept")
    if login:
        gr.LoginButton()
    private = gr.Checkbox(value=True, label="Private: only you, and those whom you let in, can see it")
    go, stop, status = buttons("Push to the Hub")
    said = gr.HTML()

    def check(session, repo, private, token):
        missing = "" if login or token.strip() else hub_words.TOKEN
        return [gr.validate(True, ""), gr.validate(not problem(repo.strip()), problem(repo.strip())),
                gr.validate(True, ""), gr.validate(not missing, missing)]

    def handler(session, repo, private, token, request: gr.Request, visitor: gr.OAuthToken | None):
        yield {token_box: "", said: ""}
        secret = (visitor.token if visitor else "") if login else token
        if login and not secret:
            raise InvalidRequest({"token": LOGIN})
        made, meter = (yield from building(page, request, session, status)), Meter()
        for event in pushing(page.desk, request, made, repo, secret, private):
            if isinstance(event, Pushed):
                yield {status: words.status("Pushed."), said: link(event),
                       news: ("pushed", {"repo": event.repo, "commit": event.commit, "head": made.head})}
            elif event is not None:
                yield {status: meter.tell(event.doing, event.sent, event.total)}

    token_box = token
    page.desk.serve(go.click, handler, [page.session, repo, private, token], [token, said, news], status=status, go=go,
                    stop=stop, validator=check, line=FILES)


def pushing(desk: Desk, request: gr.Request, made: Bundle, repo: str, token: str, private: bool):
    """Push a bundle for a visitor, on top of what the visitor last saw there; yields what `push` yields."""
    seen, visitor, repo, doing = desk.shelf.parents, request.session_hash or "", repo.strip(), ""
    events = push(made.folder, repo, token, private=private, message=made.message,
                  parent=seen.get((visitor, repo)), endpoint=home())
    try:
        for event in desk.watch(beside(request, FILES), events):
            if isinstance(event, Pushed):
                seen[visitor, repo] = seen[visitor, event.repo] = event.commit
            elif event is not None:
                doing = event.doing
            yield event
    except Moved as moved:
        seen.pop((visitor, repo), None)
        if moved.head:
            seen[visitor, repo] = moved.head
        raise
    except Stopped:
        late = doing in (hub_words.COMMITTING, hub_words.CHECKING)
        raise Stopped(LATE if late else hub_words.STOPPED) from None


def link(pushed: Pushed) -> str:
    """Where it is now."""
    url = escape(pushed.url, quote=True)
    return (f'<p class="note good">✔ Pushed to <a href="{url}" target="_blank" rel="noopener noreferrer">'
            f"{escape(pushed.repo)}</a> as commit {escape(pushed.commit[:10])}; read back, every file is there.</p>")
