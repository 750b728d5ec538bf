"""Pictures in space: scenes, drawn flat or in the browser."""
