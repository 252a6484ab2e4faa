"""The API that clients of the reference already speak (docs/operate/mesh.md says which part), and what edges ask."""
