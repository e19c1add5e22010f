"""The attacks of docs/reliability.md: short in `make test`, full in `make faults`."""
