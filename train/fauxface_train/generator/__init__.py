"""A small generator of faces: it makes the demo's pictures, which therefore belong to nobody."""
