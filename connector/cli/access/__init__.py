"""Commands that reach applications behind Access: `access tcp|ssh|rdp|smb`, `curl`, `token`, `login`, `ssh-config`."""
