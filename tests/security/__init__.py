"""What a stranger may not do: rules R1 to R16 of docs/explanation/security.md."""
