"""The offline corpus: real photographs with descriptions of ours and drawn scenes, behind a web that misbehaves."""
