"""`files:/path`: files below one directory, to be read and nothing else (docs/guide/files.md)."""
