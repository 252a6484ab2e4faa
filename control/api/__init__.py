"""The API that clients of the reference already speak (docs/mesh.md says which part), and what edges ask."""
