"""What relying parties and machines fetch over plain HTTP: CA certificates, CRLs, health."""
