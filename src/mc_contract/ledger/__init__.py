"""The ledger's formats: entries, Merkle trees, tiles, checkpoints, exports, archives."""
