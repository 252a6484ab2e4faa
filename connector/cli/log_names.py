"""What the log file in `--log-directory` is called: as the program that was started, ours or a link of the reference's
name, so that whatever reads the reference's file finds it."""

#: Ours first.
LOG_NAMES = ("pyconnector", "cloudflared")
