"""Published networks that more than one study uses: their architecture, ours, and their weights, pinned by hash."""
