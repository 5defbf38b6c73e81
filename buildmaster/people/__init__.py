"""Who the people are that come without a token, and what they may do.

Read `person` and `roles` first, then `entrance`, which the guard of the HTTP site asks. A
person is made sure of by a password (`passwords`, `htpasswd`), by a proxy in front of the
farm (`proxy`) or by a provider (`oidc`, `id_token`), and then stays (`stays`).
"""
