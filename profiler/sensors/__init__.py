"""What watches from outside: NVML, the host, py-spy."""
