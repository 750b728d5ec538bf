"""What needs no training: thresholds and sheetness."""
