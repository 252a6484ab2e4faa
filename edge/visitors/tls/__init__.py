"""TLS for visitors: which certificate is shown, whether a request came over the right one, files that change."""
