"""The script that Streamlit runs in the page's place where its readers must sign in: the provider first, then the page.

Streamlit itself speaks OpenID Connect; who the provider is stands in its secrets.toml (deploy/secrets.example.toml).
Closed unless told otherwise: without a provider, or a word on who may come in, nobody sees the page.
"""

from collections.abc import Mapping, Sequence

import streamlit as st

from lambda_pipeline.shipped import shipped_path

EVERYBODY = "*"


def is_allowed(claims: Mapping[str, object], allowed: Sequence[str]) -> bool:
    """Whether somebody whom the provider vouches for may see the page.

    `allowed` holds e-mail addresses, `@domain` for all of a domain, or `*` for everybody that the provider lets sign
    in. An address counts only where the provider says that it is verified: with some, users can set any.
    """
    if EVERYBODY in allowed:
        return True
    email = str(claims.get("email") or "").lower()
    _, at, domain = email.rpartition("@")
    known = {entry.lower() for entry in allowed}
    return claims.get("email_verified") is True and bool(at) and (email in known or f"@{domain}" in known)


def main() -> None:
    """Ask who it is, and draw the page for whoever may see it."""
    provider = st.secrets.get("auth") if st.secrets.load_if_toml_exists() else None
    allowed = st.secrets.get("allowed", {}).get("who", []) if provider else []
    if not provider or not allowed:
        st.error("Signing in is not set up yet. See deploy/secrets.example.toml.")
    elif not st.user.is_logged_in:
        st.title("Please sign in", anchor=False)
        st.button("Sign in", on_click=st.login, type="primary")
    elif not is_allowed(st.user.to_dict(), allowed):
        st.error("You are signed in, but not among those who may see this page.")
        st.button("Sign out", on_click=st.logout)
    else:
        st.navigation([st.Page(shipped_path("dashboard", "app.py"), title="Dashboard")], position="hidden").run()


if __name__ == "__main__":
    main()
